import importlib
import os
import signal
import time
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest
import torch
from pydantic import TypeAdapter, ValidationError

from handsight import sims
from handsight.errors import HandsightError
from handsight.sims.checker import check_vec_env
from handsight.sims.env_config import RemoteConfig
from handsight.sims.remote import spares
from handsight.sims.remote.remote_vec_env import RemoteVecEnv
from handsight.sims.remote.worker import SimulatorError

from .process_tree import family_of

GROUPS = ("state", "proprio", "depth")
QUICK = RemoteConfig(step_timeout=1.0)
MAKER = partial(sims.make, sims.EnvConfig(threads=1), GROUPS)


@pytest.fixture
def chained(ray_cluster):
    """The module as the simulators know it."""
    return importlib.import_module("chained_env")


@pytest.fixture
def remote(chained):
    """Makes environments of chained worlds, and closes them."""
    made = []

    def make(num_envs=8, slots="cpu*2", config=QUICK, **options):
        made.append(RemoteVecEnv(chained.ChainedEnv, slots, num_envs, config, **options))
        return made[-1]

    yield make
    for env in made:
        env.close()


def actions(env, steps, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(steps, env.num_envs, env.action_dim, generator=generator) * 2 - 1


def same_worlds(one, other, steps=45):
    """Whether two environments go the same way bit for bit, resets included."""
    for env in (one, other):
        env.set_reset_mix({"near": 0.5, "wide": 0.5})
    pairs = [(one.reset(3), other.reset(3))]
    for env in (one, other):
        env.stagger()
    for action in actions(one, steps):
        a, b = one.step(action), other.step(action)
        assert set(b.log) - set(a.log) == {"lost"} and not b.log["lost"].any()
        for name in a.log:
            assert torch.equal(a.log[name], b.log[name]), name
        for name in ("reward", "terminated", "truncated", "first", "valid"):
            assert torch.equal(getattr(a, name), getattr(b, name)), name
        pairs.append((a.obs, b.obs))
    for a, b in pairs:
        for name in GROUPS:
            assert a[name].dtype == b[name].dtype and torch.equal(a[name], b[name]), name


def test_worlds_do_not_depend_on_where_they_live(ray_cluster):
    near, far = MAKER(16), RemoteVecEnv(MAKER, "cpu*2", 16)
    same_worlds(near, far)
    near.close()
    far.close()


@pytest.mark.slow
@pytest.mark.parametrize(("slots", "share"), [(4, 16), (16, 4)])
def test_64_worlds_are_the_same_on_4_and_on_16_simulators(ray_cluster, slots, share):
    patient = RemoteConfig(spares=0, step_timeout=60.0, build_timeout=600.0)  # sixteen processes start on two cores
    near, far = MAKER(slots * share), RemoteVecEnv(MAKER, f"cpu*{slots}", slots * share, patient)
    same_worlds(near, far)
    near.close()
    far.close()


@pytest.mark.parametrize("config", [RemoteConfig(), RemoteConfig(double_buffer=True)])
def test_remote_worlds_keep_the_contract(remote, config):
    promises = check_vec_env(remote(config=config))
    assert len(promises) == 7 and not any("not offered" in promise for promise in promises)


@pytest.mark.parametrize("gone", ["gloo", "nccl"])
def test_a_configuration_that_names_a_transport_of_the_first_edition_is_read_with_a_word(gone):
    with pytest.warns(UserWarning, match=f"transport '{gone}' is gone: reading it as 'object-store'"):
        assert TypeAdapter(RemoteConfig).validate_python({"transport": gone}) == RemoteConfig()
    with pytest.raises(ValidationError, match="object-store"):
        TypeAdapter(RemoteConfig).validate_python({"transport": "pigeon"})


def test_ray_listens_to_this_machine_only(remote):
    remote()
    ours = {inode for pid in family_of(os.getpid()) for inode in _sockets(pid)}
    listening = {inode: address for inode, address in _listening() if inode in ours}
    assert len(listening) >= 4, "Ray's own sockets were not found: the test reads /proc wrongly"
    assert [address for address in listening.values() if not address.endswith("0100007F")] == []


def test_under_uv_run_simulators_are_no_copies_of_the_project(remote):
    """Ray's default there: it packs the folder, unpacks it for every process, and starts that by uv."""
    remote()
    words = [Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0") for pid in family_of(os.getpid())]
    assert any(line[0].startswith(b"ray::") for line in words)
    assert [line for line in words if line[0].endswith(b"uv") and b"run" in line] == []


def test_ray_asks_for_a_token_and_shows_no_dashboard(ray_cluster):
    import ray

    assert os.environ["RAY_AUTH_MODE"] == "token" and len(os.environ["RAY_AUTH_TOKEN"]) == 64
    assert not ray.worker._global_node.webui_url
    files = Path(ray.worker._global_node.get_session_dir_path())
    assert any(folder.stat().st_mode & 0o077 == 0 for folder in files.parents), "everybody can reach Ray's files"


@pytest.mark.parametrize("failure", ["killed", "stopped", "raises"])
def test_a_failed_simulator_is_replaced_and_no_sample_is_mixed_up(remote, chained, failure):
    env = remote()
    spares.wait_until_ready(120)
    ledger = chained.Ledger(env.reset(0))
    env.set_reset_mix({"near": 0.25, "wide": 0.75})
    failed_at = back_at = None
    for t, action in enumerate(actions(env, 20_000)):
        if t == 12:
            failed_at = time.monotonic()
            if failure == "raises":
                action[5, 0] = chained.RAISE
            else:
                os.kill(env.workers[1].description.pid, signal.SIGKILL if failure == "killed" else signal.SIGSTOP)
        step = env.step(action)
        ledger.check(action, step)
        assert step.valid[:4].any() or step.first[:4].all(), "the others go on"
        if back_at is None and failed_at and ledger.lost and not step.log["lost"].any():
            back_at = t
            took = time.monotonic() - failed_at
        if back_at and t >= back_at + 20:
            break
        time.sleep(0.002)
    assert back_at is not None, "no successor came"
    assert took < 10.0
    assert ledger.lost >= 4 and ledger.valid > 100
    assert step.log["near"][4:].eq(0.25).all(), "the successor knows the mix"
    figures = env.statistics()
    assert figures["remote/replaced"] == 1 and figures["remote/lost_rows"] == ledger.lost
    assert 0 < figures["remote/seconds_restart"] < 10


def _spare(env, older=frozenset(), within=60.0):
    """The process of the spare simulator, once there is one; it still imports then. `older` ones are of other tests."""
    known, deadline = older | {worker.description.pid for worker in env.workers}, time.monotonic() + within
    while time.monotonic() < deadline:
        for pid in set(family_of(os.getpid())) - known:
            with suppress(OSError):
                if Path(f"/proc/{pid}/cmdline").read_bytes().startswith(b"ray::Simulator"):
                    return pid
        time.sleep(0.05)
    pytest.fail("no spare simulator was started")


def test_a_spare_that_hangs_while_it_starts_holds_nobody_up(remote, chained, monkeypatch):
    """It is stopped; a failed simulator's successor is a process of its own, and later another spare is begun."""
    older = set(family_of(os.getpid()))
    spares.forget()
    spares.given_up()
    env = remote(config=RemoteConfig(step_timeout=1.0, build_timeout=300.0))
    env.reset(0)
    hung = _spare(env, older)
    os.kill(hung, signal.SIGSTOP)
    os.kill(env.workers[1].description.pid, signal.SIGKILL)
    began, lost = time.monotonic(), 0
    for action in actions(env, 100_000):
        step = env.step(action)
        lost += int(step.log["lost"].sum())
        if lost and not step.log["lost"].any():
            break
        time.sleep(0.01)
    print(f"whole again after {time.monotonic() - began:.1f} s")
    assert time.monotonic() - began < 150.0, "two minutes and a half: half of what was waited for the spare"
    monkeypatch.setattr(spares, "WARM_UP_TIMEOUT", 0.0)
    first = spares._ready[env.config.transport][0]
    figures = env.statistics()
    assert figures["remote/replaced"] == 1 and figures["remote/spares_lost"] >= 1
    assert first not in spares._ready[env.config.transport] and len(spares._ready[env.config.transport]) >= 1


def test_failing_again_and_again_stops_with_the_last_traceback(remote, chained):
    env = remote(config=RemoteConfig(max_failures=3, spares=0))
    env.reset(0)
    action = torch.zeros(8, 2)
    action[0, 0] = chained.RAISE
    with pytest.raises(
        SimulatorError, match=r"(?s)worlds 0 to 3 failed 3 times in a row.*Simulator\.step.*a planted failure"
    ):
        for _ in range(3000):
            env.step(action)
            time.sleep(0.01)


def test_what_the_user_got_wrong_is_said_at_once(remote):
    with pytest.raises(HandsightError, match=r"^2000 worlds are more than fit"):
        remote(num_envs=4000)
    env = remote()
    with pytest.raises(HandsightError, match="unknown kinds of reset"):
        env.set_reset_mix({"far": 1.0})
    assert env.statistics()["remote/replaced"] == 0


def test_halves_are_stepped_on_their_own(remote, chained):
    env = remote(config=RemoteConfig(double_buffer=True))
    assert env.parts == (slice(0, 4), slice(4, 8))
    obs = env.reset(0)
    action = actions(env, 1)[0]
    env.send(action[4:], part=1)
    env.send(action[:4], part=0)
    second, first = env.receive(1), env.receive(0)
    for part, step in ((slice(0, 4), first), (slice(4, 8), second)):
        assert torch.equal(step.obs["stamp"][:, 3], chained.link(obs["stamp"][part, 3], action[part]))


def test_bytes_are_counted_and_images_cross_once_as_integers(remote):
    env = remote()
    env.reset(0)
    for action in actions(env, 3):
        env.step(action)
    figures = env.statistics()
    assert figures["remote/bytes_per_step"] == 8 * (64 * 64 * 2 + 4 * 8)
    assert figures["remote/seconds_per_step"] > figures["remote/seconds_transfer"] > 0
    assert env.statistics()["remote/bytes_per_step"] == 0


def _sockets(pid):
    for link in Path(f"/proc/{pid}/fd").glob("*"):
        try:
            name = os.readlink(link)
        except OSError:
            continue
        if name.startswith("socket:["):
            yield name[8:-1]


def _listening():
    """(inode, address in hexadecimal) of every socket that listens, and of every one for datagrams."""
    for table in ("tcp", "tcp6", "udp", "udp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" or table.startswith("udp"):
                yield fields[9], fields[1].partition(":")[0]
