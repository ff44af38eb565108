"""Distil from recorded rollouts: the same student, loss, optimiser and checkpoints as DAgger, without a simulator."""

from __future__ import annotations

import hashlib
import logging
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import torch
from lightning.fabric import Fabric
from torch import Tensor
from torch.utils.data import DataLoader

from ...datasets.foreign import Foreign, open_shard
from ...datasets.reader import SeededBatches, Windows, collate, whole_shards
from ...datasets.schema import DatasetError
from ...errors import HandsightError
from ...sims.env_config import EnvConfig
from ...students import build_student
from ..runs import stored_config
from ..runs.policy_io import obs_spec
from .allocator import keep_freed_memory
from .distiller import Distiller
from .session import Session, Training
from .student_config import StudentRunConfig

_log = logging.getLogger(__name__)
VALIDATION_BATCHES = 8
"""At most so many batches of the split "valid" are looked at after each iteration."""


class OfflineTraining(Training):
    """Fits a student to the shuffled windows of a recording, `gradient_steps` batches of them in each iteration."""

    command, unit = "train-student", "gradient steps"
    following = "handsight evaluate {run}, or handsight export {run}"

    def __init__(self, config: StudentRunConfig, fabric: Fabric) -> None:
        """Checks every shard.

        Raises:
            DatasetError: too many damaged shards, or something that the student needs was not recorded.
            StudentError, BackboneError: the student does not fit what was recorded.
        """
        assert config.data is not None
        names = config.offline.names
        shards = whole_shards(config.data, config.offline.max_damaged, names).whole
        opened = [open_shard(path, names) for path in shards]
        self.digest = hashlib.sha256("".join(shard.header["sha256"] for shard in opened).encode()).hexdigest()
        foreign = [shard for shard in opened if isinstance(shard, Foreign)]
        self.following = "handsight export {run} --check-steps 0" if foreign else self.following
        if config.dagger.object_weight and not all(shard.has("object") for shard in foreign):
            _log.warning(
                "%s: object positions were not recorded, and are not learnt (--offline.map object=NAME)", config.data
            )
            config = replace(config, dagger=replace(config.dagger, object_weight=0.0))
        splits = {split for shard in opened for split in ("train", "valid") if shard.split(split)}
        length = config.offline.steps or max(max(shard.steps.values()) for shard in opened)
        self.facts = opened[0].facts
        for shard in opened:
            shard.close()
        self.config, self.name = config, f"student-{config.student.sight}-from-data"
        self.env_config = stored_config.read(EnvConfig, self.facts.env_config, f"shard {shards[0]}", DatasetError)
        asked = config.student.told(self.env_config.task.told)
        labels = ["object"] * bool(config.dagger.object_weight) + ["depth"] * config.student.depth_head
        columns = ["mean", "std", *asked.obs_keys, *labels]
        self.train_windows = Windows(shards, columns, length, "train", names=names)
        self.valid_windows = Windows(shards, columns, length, "valid", names=names) if "valid" in splits else None
        torch.manual_seed(config.seed)
        actions = self.train_windows[0]["mean"].shape[-1]
        student = build_student(asked, obs_spec(self.facts.signature), actions)
        self.distiller = Distiller(student, config.dagger, config.iterations, fabric)
        self.fabric, self.units = fabric, config.dagger.gradient_steps
        size = config.dagger.batch_sequences
        self.batches = SeededBatches(len(self.train_windows), size, config.dagger.gradient_steps, config.seed)
        self.iteration = 0
        seen = {group: self.train_windows.read_all(group) for group in student.normalize}
        student.update_normalizers(seen, torch.ones(len(seen["proprio"]), dtype=torch.bool))

    @property
    def steps(self) -> int:
        """Steps of recorded episodes that were drawn, padding included."""
        each = self.config.dagger.gradient_steps * self.config.dagger.batch_sequences
        return self.iteration * each * self.train_windows.length

    def learn(self, session: Session) -> None:
        """Fit, validate, log and save."""
        keep_freed_memory()
        if not self.iteration:
            self.save()
        while self.iteration < self.config.iterations:
            metrics = self.fit(session)
            session.log(metrics | self.validate(), self.steps)
            self.save()

    def fit(self, session: Session) -> dict[str, float]:
        """One iteration: gradient steps on the batches that come next. Returns losses and seconds by name."""
        start, config = time.perf_counter(), self.config
        self.batches.position = self.iteration * config.dagger.gradient_steps
        torch.manual_seed((config.seed << 16) + self.iteration)  # dropout and augmentation of this iteration
        loader = DataLoader(
            self.train_windows,
            batch_sampler=self.batches,
            collate_fn=collate,
            num_workers=config.offline.workers,
            pin_memory=config.device != "cpu",
        )
        waited: Counter[str] = Counter()
        metrics = self.distiller.fit(_timed(loader, waited), session.tick)
        self.iteration += 1
        seconds = {"seconds/fit": time.perf_counter() - start, "seconds/wait": float(waited["seconds"])}
        return {"iteration": float(self.iteration)} | metrics | seconds

    @torch.no_grad()
    def validate(self) -> dict[str, float]:
        """Losses of the split "valid", if there is one."""
        if self.valid_windows is None:
            return {}
        size, sums, rows = self.config.dagger.batch_sequences, Counter(), 0
        self.distiller.student.eval()
        for start in range(0, min(len(self.valid_windows), size * VALIDATION_BATCHES), size):
            items = [self.valid_windows[i] for i in range(start, min(start + size, len(self.valid_windows)))]
            batch = self.distiller.fabric.to_device(collate(items))
            count = int(batch["valid"].sum())
            rows += count
            sums.update({name: count * float(part) for name, part in self.distiller.losses(batch).items()})
        return {f"validation/{name}": total / rows for name, total in sums.items()}

    def save(self) -> None:
        """Write a checkpoint of the last finished iteration."""
        teacher = self.facts.origin.get("teacher", {})
        origin = {key: teacher.get(key, "") for key in ("path", "sha256")}
        data = {"path": str(self.config.data), "sha256": self.digest, "iteration": self.iteration}
        tree = self.distiller.checkpoint(self.facts.signature, self.env_config, origin)
        self.keep(tree | {"data": data}, self.iteration)

    def restore(self, saved: Mapping[str, Any]) -> None:
        """Continue bit for bit from a checkpoint. Raises HandsightError: the shards are not those it began with."""
        if saved["data"]["sha256"] != self.digest:
            raise HandsightError(f"resume {self.folder}: the shards in {self.config.data} changed since it began")
        self.distiller.restore(saved)
        self.iteration = saved["data"]["iteration"]


def _timed(loader: DataLoader[dict[str, Tensor]], waited: Counter[str]) -> Iterator[dict[str, Tensor]]:
    """The loader's batches; `waited["seconds"]` grows by the time that it takes to get them."""
    batches = iter(loader)
    while True:
        start = time.perf_counter()
        batch = next(batches, None)
        waited["seconds"] += time.perf_counter() - start  # type: ignore[assignment]
        if batch is None:
            return
        yield batch
