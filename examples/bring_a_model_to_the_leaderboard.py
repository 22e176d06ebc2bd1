"""For a model builder: serve a model, ask it questions that nobody can have seen, compare it, publish a leaderboard.

Shows: an OpenAI-compatible server (here the shipped nano base behind `spinemed bench caller`; yours may be vLLM),
SpineBench-Live questions from a seed, the benchmark over HTTP, the same weights asked in this process, both compared
question by question, a submission checked, and the board as static files for any web server.
Needs: the plain installation; no GPU, no network. A picture of the board where the program `chromium` is installed.
Takes: 45 s on two busy CPU cores. Real size: `--questions 500 --resamples 10000`, and your own server by
`--url URL --served-model NAME`; below 20 spines a table has no intervals, and the small default has fewer.

    python examples/bring_a_model_to_the_leaderboard.py --out runs/walk_board

The same command goes on where it stopped. Computed spines, no patients; nano has 3.5 million weights and was never
taught to answer such questions, so it stands below guessing: the walk shows the road. Research use only.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from steps import child, heading, spinemed

from spinemed.resources import configs_dir, samples_dir

# What a system declares to stand on the board; every field is described in bench/submission/declare.py.
DECLARATION = """\
name: {name}
model: {model}
revision: shipped
organisation: SpineMed's own walk
contact: nobody@example.org
licence: Apache-2.0
training_data: [{{name: SpineMed phantoms, kind: phantom, licence: Apache-2.0}}]
phantoms: {{used: true, families: [a]}}   # a family that was trained on is ranked apart; the questions are of family b
seen_questions: false
predictions: [predictions/full]
notes: An untuned base of 3.5 million weights, to show how a model comes here.
"""


@contextmanager
def served(model: Path) -> Iterator[str]:
    """The model behind an address of this machine, for as long as the block lasts; yields the address."""
    # --no-calls: the checkpoint alone answers. Port 0: whichever is free; the server prints it when it is ready.
    server = child("bench", "caller", "--model", model, "--no-calls", "--port", "0", stdout=subprocess.PIPE)
    try:
        said = server.stdout.readline() if server.stdout else ""
        if not said.startswith("listening: "):
            raise SystemExit(f"the server did not start (exit code {server.wait()})")
        print(said, end="", flush=True)
        yield said.removeprefix("listening: ").strip()
    finally:
        server.terminate()
        server.wait()


def photograph(page: Path, picture: Path) -> bool:
    """A picture of the page as a browser shows it; False where no Chromium is installed."""
    browser = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if browser is None:
        return False
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--window-size=1300,1000"]
    command = [browser, *options, f"--screenshot={picture}", page.resolve().as_uri()]
    subprocess.run(command, check=True, capture_output=True, timeout=120)
    return picture.is_file()


def main() -> None:
    """Ask, compare, check, publish; figures in `comparison.json` and `walk.json`."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("runs/walk_board"), help="folder; the same one resumes")
    parser.add_argument("--url", help="your own server, up to /v1; else the nano base is served here")
    parser.add_argument("--served-model", default="nano_base", help="name of the model as the server knows it")
    parser.add_argument("--questions", type=int, default=24, help="SpineBench-Live questions, at least 20")
    parser.add_argument("--seed", type=int, default=20, help="another seed, other spines, other questions")
    parser.add_argument("--resamples", type=int, default=500, help="bootstrap samples of every interval")
    given = parser.parse_args()
    out: Path = given.out
    out.mkdir(parents=True, exist_ok=True)
    live, run, nano = out / "questions", out / "run", samples_dir() / "nano_base"
    config, sampled = configs_dir() / "bench" / "samples.yaml", f"resamples={given.resamples}"

    heading("Questions from a seed: computed spines with exact truth, of a generator that nothing was trained on")
    quick = [
        "--set",
        "real=false",
        "--set",
        "volumes=false",
        "--set",
        "mix={level: 0.5, side: 0.25, consistency: 0.25}",
    ]
    counted = ["--count", str(given.questions), "--seed", str(given.seed)]
    spinemed("bench", "live", configs_dir() / "bench" / "live.yaml", *counted, *quick, "--out", live)

    heading("Serve the model and ask it over HTTP; majority and random answerers stand beside it")
    asked: list[str | Path] = ["--samples", live, "--condition", "full", "--set", sampled, "--out", run]

    def ask(url: str) -> None:
        server = ["--url", url, "--served-model", given.served_model, "--revision", "shipped"]
        spinemed("bench", "run", config, *server, "--name", "served", *asked)

    if given.url:
        ask(given.url)
    else:
        with served(nano) as url:
            ask(url)

    heading("A second system joins the same run: the nano base in this process, without a server")
    spinemed("bench", "run", config, "--model", nano, "--name", "local", *asked)

    heading("Are they different? Question by question, resampled by spine. Served nano and nano itself must agree.")
    predictions = run / "outputs" / "predictions"
    pair: list[str | Path] = [
        predictions / "served",
        predictions / "local",
        "--samples",
        live,
        "--resamples",
        str(given.resamples),
    ]
    spinemed("bench", "compare", *pair, "--out", out / "comparison.json")

    heading("A submission: what the system declares, and one prediction for every question")
    submission = out / "submission"
    shutil.copytree(predictions / "served", submission / "predictions" / "full", dirs_exist_ok=True)
    model = json.loads((predictions / "served" / "manifest.json").read_text(encoding="utf-8"))["model"]
    (submission / "submission.yaml").write_text(DECLARATION.format(name="served", model=model), encoding="utf-8")
    spinemed("bench", "validate", submission, "--samples", live)

    heading("The board: a folder of static files. Copy it to any web server; nothing runs behind it.")
    board = out / "board"
    shown: list[str | Path] = [word for path in sorted(predictions.iterdir()) for word in ("--predictions", path)]
    told: list[str | Path] = [
        "--samples",
        live,
        *shown,
        "--submission",
        submission,
        "--title",
        "SpineBench-Live, a walk",
    ]
    spinemed("bench", "board", "--scores", run / "outputs" / "scores", *told, "--out", board)
    pictured = photograph(board / "board.html", out / "board.png")

    heading("What came out")
    for path in (out / "comparison.json", submission, board / "board.html", *([out / "board.png"] if pictured else [])):
        print(f"  {path}")
    if not pictured:
        print("  no picture of the board: Chromium is not installed (apt-get install chromium)")


if __name__ == "__main__":
    main()
