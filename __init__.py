"""Handsight: teachers that see too much, students that must look for themselves.

The map of the house, in the order of the arrows:

    sims/      where observations come from: VecEnv, GraspTask, engines, cameras, randomisation
    policies/  what every policy is made of: Policy contract, recurrent core, running normaliser
    teachers/  PPO: ActorCritic, RolloutBuffer, compute_gae, PPO
    students/  what is deployed: StereoStudent on timm backbones, paired augmentation
    datasets/  rollouts that last: shards, their reader, LeRobot export
    distill/   where things happen: command line, runs, checkpoints, loops, evaluation, comparison, report
"""

import os
import sys
import warnings

__version__ = "0.2.0.dev0"
warnings.filterwarnings("ignore", message="IProgress not found")  # by a library, in notebooks: our bars need no widgets

if "OMP_WAIT_POLICY" not in os.environ:
    os.environ["OMP_WAIT_POLICY"] = "PASSIVE"  # waiting OpenMP threads must not take the simulator's cores
    if "torch" in sys.modules:
        warnings.warn(
            "torch was imported before handsight, so its OpenMP threads wait busily and training may take ten times "
            "the CPU time: import handsight first, or set OMP_WAIT_POLICY=PASSIVE",
            stacklevel=2,
        )
