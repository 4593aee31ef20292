"""Configurations of known size for benchmarks: texts that pack about as well as real ones, the same in every run."""

import random
from dataclasses import dataclass
from pathlib import Path

_FOLDERS = ("hooks", "commands", "agents", "skills")  # what a backup holds of a user root
_PER_FOLDER = 50  # files of one folder below these


@dataclass(frozen=True, slots=True)
class Corpus:
    """So many files of this size in the mean."""

    name: str
    files: int
    mean_bytes: int


A = Corpus("A", 71, 5_000)  # a real ~/.claude
B = Corpus("B", 1_000, 10_000)
C = Corpus("C", 10_000, 20_000)
D = Corpus("D", 100_000, 1_000)
ALL = {corpus.name: corpus for corpus in (A, B, C, D)}


def plant(user_root: Path, corpus: Corpus, *, seed: int = 1) -> list[Path]:
    """Write a corpus below a user root, over an earlier one of it; another ``seed`` makes every file another one."""
    chance = random.Random(seed)
    words = ["".join(chance.choices("etaoinshrdlucmfw", k=chance.randint(2, 11))) for _ in range(4000)]
    weights = [1 / (rank + 3) for rank in range(len(words))]
    text = " ".join(chance.choices(words, weights, k=200_000)).encode("ascii")
    paths: list[Path] = []
    for number in range(corpus.files):
        top, place = _FOLDERS[number % len(_FOLDERS)], number // len(_FOLDERS)
        folder = user_root / top / f"group{place // _PER_FOLDER}"
        if place % _PER_FOLDER == 0:
            folder.mkdir(parents=True, exist_ok=True)
        start = chance.randrange(len(text) - 2 * corpus.mean_bytes)
        size_bytes = chance.randint(corpus.mean_bytes // 10, corpus.mean_bytes * 19 // 10)
        path = folder / f"part{number}.md"
        path.write_bytes(b"%d %d\n%s" % (seed, number, text[start : start + size_bytes]))
        paths.append(path)
    return paths
