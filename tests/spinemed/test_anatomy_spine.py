"""A patient's own column: neighbours, distance, counting conventions, and what a field of view decides."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter

from spinemed.anatomy import (
    DISCS,
    REGULAR,
    CountingConvention,
    Disc,
    Level,
    Segment,
    Spine,
    determinable,
    number_view,
)
from spinemed.errors import LevelError

C2, RIB, SACRUM = CountingConvention.FROM_C2, CountingConvention.FROM_LAST_RIB, CountingConvention.FROM_SACRUM
SPINES = [Spine(thoracic, lumbar) for thoracic in (11, 12, 13) for lumbar in (4, 5, 6)]
steady = settings(deadline=None, derandomize=True, max_examples=150)


@st.composite
def spine_and_levels(draw: st.DrawFn, count: int) -> tuple[Spine, list[Level]]:
    spine = draw(st.sampled_from(SPINES))
    return spine, draw(st.lists(st.sampled_from(spine.levels), min_size=count, max_size=count))


class TestColumn:
    def test_regular_one_has_24_presacral_vertebrae_and_23_discs(self) -> None:
        assert len(REGULAR.presacral) == 24
        assert len(REGULAR.discs) == 23
        assert str(REGULAR.discs[0]) == "C2/3"
        assert str(REGULAR.lumbosacral_disc) == "L5/S1"
        assert str(REGULAR.segments[0]) == "C0/1"

    @pytest.mark.parametrize(
        ("spine", "disc"), [(Spine(lumbar=6), "L6/S1"), (Spine(lumbar=4), "L4/S1"), (Spine(thoracic=13), "L5/S1")]
    )
    def test_lumbosacral_disc_follows_the_last_lumbar_vertebra(self, spine: Spine, disc: str) -> None:
        assert str(spine.lumbosacral_disc) == disc

    def test_extra_and_missing_vertebrae_make_their_own_neighbours(self) -> None:
        assert Spine(thoracic=13).neighbours(Level.T13) == (Level.T12, Level.L1)
        assert Spine(thoracic=11).neighbours(Level.L1) == (Level.T11, Level.L2)
        assert REGULAR.neighbours(Level.C0) == (None, Level.C1)
        assert REGULAR.neighbours(Level.COCCYX) == (Level.S5, None)

    def test_contains_only_its_own_discs(self) -> None:
        assert Disc.from_text("T12/L1") in REGULAR
        assert Disc.from_text("T12/L1") not in Spine(thoracic=13)
        assert Level.L6 not in REGULAR

    @pytest.mark.parametrize(
        "arguments",
        [
            {"thoracic": 10},
            {"lumbar": 7},
            {"thoracic": 13, "convention": C2},
            {"lumbar": 6, "convention": SACRUM},
            {"thoracic": 12, "rib_bearing": 13},
            {"rib_bearing": 15, "convention": C2},
            {"convention": "from_hip"},
        ],
    )
    def test_impossible_columns_are_refused_by_field(self, arguments: dict[str, object]) -> None:
        with pytest.raises(LevelError) as caught:
            Spine(**arguments)  # type: ignore[arg-type]
        assert caught.value.field in {*arguments, "thoracic", "lumbar"}
        assert caught.value.cure

    @pytest.mark.parametrize("spine", SPINES)
    def test_is_found_again_from_its_levels(self, spine: Spine) -> None:
        assert Spine.of(spine.levels) == spine

    def test_partial_masks_give_what_they_show(self) -> None:
        assert Spine.of([Level.L3, Level.L4]) == REGULAR
        assert Spine.of([Level.T13]).thoracic == 13
        assert Spine.of([Level.T10, Level.T11, Level.L1]).thoracic == 11
        with pytest.raises(LevelError):
            Spine.of([Level.T11, Level.T13, Level.L1])

    def test_survives_json(self) -> None:
        adapter = TypeAdapter(Spine)
        spine = Spine(12, 6, C2, 13)
        assert adapter.validate_json(adapter.dump_json(spine)) == spine


class TestDistance:
    def test_counts_in_the_patients_own_column(self) -> None:
        assert REGULAR.distance(Level.T11, Level.L1) == 2
        assert Spine(thoracic=11).distance(Level.T11, Level.L1) == 1
        assert Spine(thoracic=13).distance(Level.T12, Level.L1) == 2
        assert REGULAR.distance(Level.T12, Level.L1) == 1
        assert REGULAR.distance(Level.L5, Level.S1) == 1

    @given(spine_and_levels(3))
    @steady
    def test_is_a_metric(self, case: tuple[Spine, list[Level]]) -> None:
        spine, (a, b, c) = case
        assert spine.distance(a, b) == spine.distance(b, a) >= 0
        assert (spine.distance(a, b) == 0) == (a is b)
        assert spine.distance(a, c) <= spine.distance(a, b) + spine.distance(b, c)
        assert spine.offset(a, c) == spine.offset(a, b) + spine.offset(b, c)

    @given(spine_and_levels(2))
    @steady
    def test_shift_undoes_offset(self, case: tuple[Spine, list[Level]]) -> None:
        spine, (a, b) = case
        assert spine.shift(a, spine.offset(a, b)) is b
        assert len(spine.between(a, b)) == spine.distance(a, b) + 1

    def test_holds_for_discs_of_one_spine(self) -> None:
        assert REGULAR.distance(Disc.from_text("T12/L1"), Disc.from_text("L4/5")) == 4
        with pytest.raises(LevelError, match="L6/S1"):
            REGULAR.distance(Disc.from_text("L6/S1"), Disc.from_text("L4/5"))

    def test_is_undefined_between_a_disc_and_a_vertebra(self) -> None:
        with pytest.raises(TypeError, match="Disc"):
            REGULAR.distance(Disc.from_text("L4/5"), Level.L4)

    def test_leaving_the_spine_is_an_error(self) -> None:
        with pytest.raises(LevelError, match="leaves the spine"):
            REGULAR.shift(Level.C1, -2)
        with pytest.raises(LevelError, match="T13"):
            REGULAR.distance(Level.T13, Level.L1)

    def test_disc_and_segment_tables_agree_with_adjacency(self) -> None:
        for spine, disc in itertools.product(SPINES, DISCS):
            assert (disc in spine) == (disc in spine.discs) == (disc.segment in spine.segments)


class TestConvention:
    def test_twenty_fifth_vertebra_with_thirteen_ribs(self) -> None:
        spine = Spine(thoracic=13)
        assert spine.rename(Level.T13, C2) is Level.L1
        assert spine.rename(Level.L5, C2) is Level.L6
        assert spine.rename(Level.T13, SACRUM) is Level.T13

    def test_lumbarised_first_sacral_piece(self) -> None:
        spine = Spine(lumbar=6)
        assert spine.rename(Level.L6, SACRUM) is Level.L5
        assert spine.rename(Level.L1, SACRUM) is Level.T13
        assert spine.rename(Level.L6, C2) is Level.L6

    def test_regular_spine_has_the_same_names_by_all(self) -> None:
        for convention in CountingConvention:
            assert all(own is other for own, other in REGULAR.mapping(convention).items())

    def test_sacrum_keeps_its_names(self) -> None:
        assert Spine(lumbar=6).rename(Level.S1, SACRUM) is Level.S1

    @given(st.sampled_from(SPINES), st.sampled_from(list(CountingConvention)))
    @steady
    def test_renaming_and_back_changes_nothing(self, spine: Spine, convention: CountingConvention) -> None:
        try:
            renamed = spine.under(convention)
        except LevelError:
            assert len(spine.presacral) in (
                22,
                26,
            )  # would leave three or seven lumbar vertebrae, or ten or fourteen thoracic ones
            return
        assert len(renamed.presacral) == len(spine.presacral)
        assert renamed.under(RIB).levels == spine.levels
        assert list(spine.mapping(convention)) == list(spine.levels)

    def test_a_name_that_does_not_exist_is_not_invented(self) -> None:
        with pytest.raises(LevelError, match="no names"):
            Spine(thoracic=13, lumbar=6).under(C2)

    def test_ribs_may_differ_from_names(self) -> None:
        spine = Spine(12, 6, C2, rib_bearing=13)
        assert spine.under(RIB) == Spine(13, 5, RIB, 13)
        assert not Spine(rib_bearing=13, convention=C2).is_regular


class TestFieldOfView:
    def test_without_an_anchor_nothing_is_determinable(self) -> None:
        view = number_view(REGULAR.between(Level.T9, Level.L4))
        assert (view.anchors, view.counted, view.determinable) == ((), None, False)
        assert view.undecided == view.visible

    @pytest.mark.parametrize(
        ("first", "last", "ribs", "anchor"),
        [
            (Level.C2, Level.T4, False, C2),
            (Level.C0, Level.C3, False, C2),
            (Level.L1, Level.S1, False, SACRUM),
            (Level.T11, Level.L3, True, RIB),
        ],
    )
    def test_each_anchor_decides_a_regular_spine(
        self, first: Level, last: Level, ribs: bool, anchor: CountingConvention
    ) -> None:
        view = number_view(REGULAR.between(first, last), ribs_visible=ribs)
        assert view.counted is anchor
        assert view.determinable

    def test_the_last_rib_counts_only_if_ribs_are_imaged_and_its_lower_neighbour_is_seen(self) -> None:
        assert not determinable(REGULAR.between(Level.T11, Level.L3))
        assert not determinable(REGULAR.between(Level.T9, Level.T12), ribs_visible=True)

    def test_l6_is_not_determinable_from_the_sacrum_alone(self) -> None:
        spine = Spine(lumbar=6)
        view = number_view(spine.between(Level.L3, Level.S1), spine)
        assert view.readings[SACRUM][Level.L6] is Level.L5
        assert view.undecided == (Level.L3, Level.L4, Level.L5, Level.L6)
        assert determinable(spine.between(Level.T12, Level.S1), spine, ribs_visible=True)

    def test_t13_is_not_determinable_without_the_top_of_the_thorax(self) -> None:
        spine = Spine(thoracic=13)
        view = number_view(spine.between(Level.T12, Level.S1), spine, ribs_visible=True)
        assert view.undecided == (Level.T12, Level.T13)
        assert determinable(spine.between(Level.C2, Level.S1), spine, ribs_visible=True)
        assert determinable(spine.between(Level.C7, Level.L2), spine, ribs_visible=True)

    def test_a_lumbar_view_of_a_spine_with_t13_still_decides_the_lumbar_names(self) -> None:
        spine = Spine(thoracic=13)
        assert determinable(spine.between(Level.L1, Level.S1), spine)

    def test_a_gap_in_the_view_is_refused(self) -> None:
        with pytest.raises(LevelError, match="gap between L1 and L3"):
            number_view([Level.L1, Level.L3])

    def test_a_level_of_another_spine_is_refused(self) -> None:
        with pytest.raises(LevelError, match="L6"):
            number_view([Level.L5, Level.L6])

    @given(st.sampled_from(SPINES), st.data(), st.booleans())
    @steady
    def test_seeing_more_never_removes_an_anchor(self, spine: Spine, data: st.DataObject, ribs: bool) -> None:
        inner = sorted(data.draw(st.lists(st.integers(0, len(spine.levels) - 1), min_size=2, max_size=2)))
        outer = (data.draw(st.integers(0, inner[0])), data.draw(st.integers(inner[1], len(spine.levels) - 1)))
        small = number_view(spine.levels[inner[0] : inner[1] + 1], spine, ribs_visible=ribs)
        large = number_view(spine.levels[outer[0] : outer[1] + 1], spine, ribs_visible=ribs)
        assert set(small.anchors) <= set(large.anchors)

    def test_whole_spine_with_ribs_is_always_determinable(self) -> None:
        for spine in SPINES:
            assert determinable(spine.levels, spine, ribs_visible=True)


def test_segments_of_a_missing_vertebra_join_what_is_left() -> None:
    assert Segment.from_text("T11/L1") in Spine(thoracic=11)
    assert Segment.from_text("T11/12") not in Spine(thoracic=11)
