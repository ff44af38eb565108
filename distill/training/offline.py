"""Distil from recorded rollouts: the same student, loss, optimiser and checkpoints as DAgger, without a simulator."""

from __future__ import annotations

import hashlib
import time
from collections import Counter
from collections.abc import Iterator

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from ...datasets.reader import SeededBatches, Windows, collate, whole_shards
from ...datasets.schema import DatasetError
from ...datasets.shard import Shard, read_header
from ...errors import HandsightError
from ...sims.env_config import EnvConfig
from ..runs import checkpoint, stored_config
from ..runs.policy_io import obs_spec
from ..runs.run import Run
from .student_config import StudentRunConfig
from .student_training import PERIODIC, StudentFit

VALIDATION_BATCHES = 8
"""At most so many batches of the split "valid" are looked at after each iteration."""


class OfflineTraining(StudentFit):
    """As Lightning's data module it hands out the next `gradient_steps` batches of the shuffled recording."""

    units = "gradient steps"

    def __init__(self, config: StudentRunConfig) -> None:
        """Checks every shard.

        Raises:
            DatasetError: too many damaged shards, or something that the student needs was not recorded.
        """
        assert config.data is not None
        shards = whole_shards(config.data, config.offline.max_damaged).whole
        opened = [Shard(path) for path in shards]
        splits = {split for shard in opened for split in ("train", "valid") if shard.split(split)}
        length = config.offline.steps or max(max(shard.steps.values()) for shard in opened)
        self.facts = opened[0].facts
        for shard in opened:
            shard.close()
        worlds = stored_config.read(EnvConfig, self.facts.env_config, f"shard {shards[0]}", DatasetError)
        super().__init__(config, config.student, worlds)
        labels = ["object"] * bool(config.dagger.object_weight) + ["depth"] * self.student_config.depth_head
        columns = ["mean", "std", *self.student_config.obs_keys, *labels]
        self.train_windows = Windows(shards, columns, length, "train")
        self.valid_windows = Windows(shards, columns, length, "valid") if "valid" in splits else None
        self.build(obs_spec(self.facts.signature), self.facts.signature, self.train_windows[0]["mean"].shape[-1])
        self.steps_each = config.dagger.gradient_steps
        size = config.dagger.batch_sequences
        self.batches = SeededBatches(len(self.train_windows), size, config.dagger.gradient_steps, config.seed)
        self.digest = hashlib.sha256("".join(read_header(path)["sha256"] for path in shards).encode()).hexdigest()
        self._begun, self.waited = 0, Counter()
        for group in self.student.normalize:
            values = self.train_windows.read_all(group)
            self.student.update_normalizers({group: values}, torch.ones(len(values), dtype=torch.bool))

    @property
    def iteration(self) -> int:
        return self._begun

    @property
    def steps(self) -> int:
        """Steps of recorded episodes that were drawn, padding included."""
        each = self.config.dagger.gradient_steps * self.config.dagger.batch_sequences
        return self._begun * each * self.train_windows.length

    def train_dataloader(self) -> TimedBatches:
        """The batches that come next."""
        self.batches.position = self._begun * self.config.dagger.gradient_steps
        torch.manual_seed((self.config.seed << 16) + self._begun)  # dropout and augmentation of this iteration
        self._begun += 1
        self.student.train()
        loader = DataLoader(
            self.train_windows,
            batch_sampler=self.batches,
            collate_fn=collate,
            num_workers=self.config.offline.workers,
            pin_memory=self.config.device != "cpu",
        )
        return TimedBatches(loader, self.waited)

    @torch.no_grad()
    def validate(self) -> dict[str, float]:
        """Losses of the split "valid", if there is one."""
        metrics = {"iteration": float(self._begun), "seconds/wait": self.waited.pop("seconds", 0.0)}
        if self.valid_windows is None:
            return metrics
        size, sums, rows = self.config.dagger.batch_sequences, Counter(), 0
        self.module.eval()
        for start in range(0, min(len(self.valid_windows), size * VALIDATION_BATCHES), size):
            items = [self.valid_windows[i] for i in range(start, min(start + size, len(self.valid_windows)))]
            batch = {name: column.to(self.module.device) for name, column in collate(items).items()}
            count = int(batch["valid"].sum())
            rows += count
            sums.update({name: count * float(part) for name, part in self.module.losses(batch).items()})
        self.module.train()
        return metrics | {f"validation/{name}": total / rows for name, total in sums.items()}

    def save(self, run: Run) -> None:
        place = run.checkpoints / PERIODIC.replace("*", f"{self._begun:06d}")
        teacher = self.facts.origin.get("teacher", {})
        origin = {key: teacher.get(key, "") for key in ("path", "sha256")}
        data = {"path": str(self.config.data), "sha256": self.digest, "iteration": self._begun}
        checkpoint.save(place, self.tree(origin) | {"data": data})
        checkpoint.keep_last(run.checkpoints, self.config.keep_checkpoints, PERIODIC)

    def go_on(self, run: Run) -> None:
        saved = checkpoint.load(checkpoint.latest(run.checkpoints, PERIODIC))
        if saved["data"]["sha256"] != self.digest:
            raise HandsightError(f"resume {run.path}: the shards in {self.config.data} changed since it began")
        self.student.load_state_dict(saved["policy"]["weights"])
        self.module.saved, self._begun = saved["learner"], saved["data"]["iteration"]
        run.rewind(self.steps)


class TimedBatches:
    """A loader that notes how long its reader waits."""

    def __init__(self, loader: DataLoader[dict[str, Tensor]], waited: Counter[str]) -> None:
        self.loader, self.waited = loader, waited

    def __len__(self) -> int:
        return len(self.loader)

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        batches = iter(self.loader)
        while True:
            start = time.perf_counter()
            batch = next(batches, None)
            self.waited["seconds"] += time.perf_counter() - start  # type: ignore[assignment]
            if batch is None:
                return
            yield batch
