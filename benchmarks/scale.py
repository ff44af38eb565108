"""The step time of a disaggregated training against its size: `python benchmarks/scale.py` draws docs/scale.svg.

Computed from the costs that benchmarks/disaggregated.py measured on one machine; the formula and its assumptions are in
docs/disaggregation.md. Lines are the model; the two stars are measured, with everything on two cores.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path

import matplotlib.pyplot as plt

HERE = Path(__file__).resolve().parent
MEASURED = HERE / "results" / "disaggregated.json"
PLOT = HERE.parent / "docs" / "scale.svg"
NODES = (1, 2, 4, 8, 16, 32, 64)
LEARNERS = (1, 4, 16)


@dataclass(frozen=True)
class Costs:
    """What a training of T = `steps` is made of. Measured: the first six; assumed: the others."""

    simulate: float
    """s: a simulator's step of its worlds."""
    transfer: float
    """s: scheduling, serialisation and gathering in a step, beside the bytes on the network."""
    update: float
    """s: learning from the rows of one simulator, on one learner."""
    row: float
    """Bytes of a world's step."""
    worlds: int
    """Of a simulator."""
    steps: int
    """Of a rollout."""
    bandwidth: float = 25e9 / 8
    """Bytes/s into a learner: 25 Gbit/s Ethernet. Assumed."""
    spread: float = 0.05
    """Standard deviation of a simulator's step, as a share of its mean. Assumed."""
    reduce: float = 2e-3
    """s: averaging the gradients of one update over log2(learners) rounds, each. Assumed."""
    gradients: int = 12
    """Averagings of a rollout."""

    def collect(self, simulators: int, learners: int) -> float:
        """s: T steps; each waits for the slowest simulator (extreme of normal variables, Cramer 1946, 28.6)."""
        slowest = self.simulate * (1 + self.spread * math.sqrt(2 * math.log(simulators)) if simulators > 1 else 1)
        network = simulators * self.worlds * self.row / learners / self.bandwidth if simulators > 1 else 0.0
        gather = self.transfer * max(1.0, simulators / learners)
        return self.steps * (slowest + gather + network)

    def learn(self, simulators: int, learners: int) -> float:
        """s: the update."""
        return self.update * simulators / learners + self.gradients * self.reduce * math.log2(learners)

    def rate(self, simulators: int, learners: int, lag: bool) -> float:
        """World-steps a second of the whole training."""
        collect, learn = self.collect(simulators, learners), self.learn(simulators, learners)
        seconds = max(collect, learn) if lag else collect + learn
        return simulators * self.worlds * self.steps / seconds


def measured() -> Costs:
    """From the committed figures: the overhead run's step and traffic, the overlap run's update."""
    results = json.loads(MEASURED.read_text())
    step, update = results["overhead"], results["overlap"]["in_turns"]["update"]
    traffic, simulators = step["traffic"], step["simulators"]
    return Costs(
        simulate=traffic["remote/seconds_per_step"] - traffic["remote/seconds_transfer"],
        transfer=traffic["remote/seconds_transfer"] / simulators,
        update=update / simulators,
        row=traffic["remote/bytes_per_step"] / (simulators * step["worlds_each"]),
        worlds=step["worlds_each"],
        steps=16,
    )


def measured_rates() -> dict[str, tuple[int, float]]:
    """(simulators, world-steps a second) of the overlap run, in turns and with lag."""
    results = json.loads(MEASURED.read_text())
    simulators, worlds = results["overhead"]["simulators"], results["overhead"]["worlds_each"]
    names = ("in_turns", "lag")
    return {name: (simulators, simulators * worlds * 16 / results["overlap"][name]["iteration"]) for name in names}


def main() -> None:
    costs = measured()
    figure, axes = plt.subplots(figsize=(7.5, 4.6))
    for learners in LEARNERS:
        nodes = [n for n in NODES if n >= learners]
        for lag, style in ((False, "--"), (True, "-")):
            rates = [costs.rate(n, learners, lag) for n in nodes]
            mode = "one update of lag" if lag else "in turns"
            label = f"model: {learners} learner{'s' if learners > 1 else ''}, {mode}"
            axes.plot(nodes, rates, style, marker="o", markersize=3, label=label, color=f"C{LEARNERS.index(learners)}")
    one = costs.rate(1, 1, False)
    axes.plot(NODES, [one * n for n in NODES], color="0.7", linewidth=1, label="n times one simulator in turns")
    for (name, (simulators, rate)), face in zip(measured_rates().items(), ("white", "black"), strict=True):
        label = f"measured: {name.replace('_', ' ')}, all on 2 cores"
        axes.plot([simulators], [rate], "k*", markersize=11, markerfacecolor=face, label=label, linestyle="none")
    axes.set(
        xscale="log", yscale="log", xlabel="simulators, each on a node of its own", ylabel="world-steps per second"
    )
    axes.set_xticks(NODES, [str(n) for n in NODES])
    axes.minorticks_off()
    axes.legend(handlelength=3.0, fontsize=7, loc="upper left")
    figure.tight_layout()
    figure.savefig(PLOT, metadata={"Date": None})
    print(costs)
    for learners in LEARNERS:
        for n in (1, 4, 16, 64):
            if n >= learners:
                parts = costs.collect(n, learners), costs.learn(n, learners)
                print(
                    f"{n:3} simulators {learners:3} learners: collect {parts[0]:7.2f} s, learn {parts[1]:7.2f} s, "
                    f"{costs.rate(n, learners, False):9,.0f} in turns, {costs.rate(n, learners, True):9,.0f} with lag"
                )


if __name__ == "__main__":
    main()
