"""The base model that the repository ships: small, loadable, and made by the config that stands beside it."""

from __future__ import annotations

from pathlib import Path

from spinemed.config import load_config
from spinemed.records import content_hash
from spinemed.tables import read_manifest
from train.base.warmup import WarmupConfig, warmup_key


def test_shipped_base_is_small_whole_and_follows_from_its_config(root: Path, samples: Path) -> None:
    manifest = read_manifest(samples / "nano_base", "checkpoint", verify=True)
    assert sum(facts["bytes"] for facts in manifest["files"].values()) <= 12_000_000
    config = load_config(root / "configs" / "nano_base.yaml", WarmupConfig)
    assert manifest["key"] == content_hash(warmup_key(config))
    assert config.phantoms.seed >= 900_000
    readme = (samples / "nano_base" / "README.md").read_text(encoding="utf-8")
    for name in ("held_out_level_right", "held_out_neighbours_exact", "parameters"):
        assert str(manifest[name]) in readme, name
