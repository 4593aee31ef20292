"""Operations of the service on the disk that forgets: which states a power cut can leave, and what becomes of them."""

import random
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from support.crash import ACTS, SITUATIONS, Case, CrashAt, CrashedError, Log, World, consent_for, judge
from support.disk_model import Forgets, Image, Model, Recorded, forgets_nothing, materialise

from stravinsky_rollback_mcp.core.model import EventType
from stravinsky_rollback_mcp.core.outcome import Restored
from stravinsky_rollback_mcp.disk.atomic import Files
from stravinsky_rollback_mcp.errors import RollbackError


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """An operation that is about to happen, on a disk on which everything so far is durable."""

    case: Case
    roots: tuple[Path, ...]
    start: Image

    def raise_curtain(self) -> None:
        """Everything as it was before the operation."""
        materialise(self.start, self.roots)


def scene(world: World, situation: str, *others: Path) -> Scene:
    """Build a situation and find out by a clean run what the operation makes of it."""
    build_up, name = SITUATIONS[situation]
    build_up(world)
    roots = (world.root / "live", *others)
    consent = consent_for(world, name)
    start = next(Model(roots).images(0))
    materialise(start, roots)  # times of folders, once and for all
    old = world.fingerprint()
    intents = len({record.draft.operation_id for record in world.records()} - {None})
    log = Log()
    world.run(ACTS[name](world.service(Files(observe=log)), consent))
    case = Case(
        world=world,
        name=name,
        consent=consent,
        old=old,
        new=world.fingerprint(),
        calls=tuple(log.calls),
        intents=intents,
    )
    return Scene(case=case, roots=roots, start=start)


class Album:
    """The different images that a run leaves, in order."""

    def __init__(self) -> None:
        self.images: list[Image] = []
        self.seen = 0
        self._keys: set[int] = set()

    def __call__(self, model: Model, at: int) -> None:
        """Take all pictures of this moment that are new."""
        for image in model.images(at):
            self.seen += 1
            key = hash(image.key)
            if key not in self._keys:
                self._keys.add(key)
                self.images.append(image)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cuts:
    """What a run can leave: while it was under way, and after it had said that it was done."""

    during: Sequence[Image]
    after: Sequence[Image]
    forgotten: int
    said: Restored | None


def cuts(scene: Scene, forgets: Forgets = forgets_nothing) -> Cuts:
    """The operation, and a power cut at each of its calls and after it."""
    scene.raise_curtain()
    album, model = Album(), Model(scene.roots)
    files = Recorded(model, album, forgets)
    said = scene.case.perform(files)
    during = list(album.images)
    album.images.clear()
    model.look()
    after = list(model.images(files.operations))
    return Cuts(
        during=during, after=after, forgotten=files.forgotten, said=said if isinstance(said, Restored) else None
    )


def cuts_of_recovery(scene: Scene, kill_at: int, forgets: Forgets = forgets_nothing) -> Cuts:
    """The operation is killed before a call; another process recovers, and the power goes at each call of that."""
    scene.raise_curtain()
    album, model = Album(), Model(scene.roots)
    files = Recorded(model, lambda _model, _at: None, forgets, CrashAt(kill_at))
    with suppress(CrashedError):
        scene.case.perform(files)
    again = Recorded(model, album, forgets)
    with suppress(RollbackError):  # a mutant's recovery may find what none should find
        scene.case.world.resume(again)
    model.look()
    after = list(model.images(again.operations))
    return Cuts(during=album.images, after=after, forgotten=files.forgotten + again.forgotten, said=None)


def recovered(scene: Scene, image: Image) -> bool:
    """What the next process makes of an image: wholly old, or (True) wholly new, and nothing left over."""
    materialise(image, scene.roots)
    scene.case.world.resume()
    is_new = judge(scene.case, (image.at, image.how))
    versions = [path.name for path in (scene.case.world.store / "backups").iterdir()]
    if is_new and scene.case.old != scene.case.new:
        drafts = [record.draft for record in scene.case.world.records()]
        made = {draft.version for draft in drafts if draft.event_type is EventType.BACKUP_CREATED}
        assert made <= set(versions), (image.at, image.how, "the safety backup is gone")
    assert not any(version.endswith(".rescue") for version in versions), (image.at, image.how, "nobody wrote late")
    return is_new


def kept_word(scene: Scene, image: Image) -> bool:
    """After success was said: the new state, or the backup that was made, is there."""
    is_new = recovered(scene, image)
    return is_new and (scene.case.name != "backup" or (scene.case.world.store / "backups" / "v9").is_dir())


def outcomes(scene: Scene, images: Sequence[Image], sample: int | None = None) -> Counter[str]:
    """How many images end old and how many new; of many only so many, spread evenly and then at random."""
    chosen = list(images)
    if sample is not None and len(chosen) > sample:
        chosen = random.Random(len(chosen)).sample(chosen, sample)
    return Counter("new" if recovered(scene, image) else "old" for image in chosen)
