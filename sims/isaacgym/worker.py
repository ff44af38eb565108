"""The other side of `IsaacEngine`: a program for the Python 3.8 that owns Isaac Gym. Imports nothing of Handsight.

    python3.8 worker.py '{"parent": PID, "control": FD, "memory": FD}'

Commands come and answers go as lines of JSON over the socket `control`; states, targets and images lie in the shared
memory file `memory`, whose layout comes with the command `open`. The end of the socket is the end of this program.
"""

import ctypes
import json
import mmap
import os
import platform
import signal
import socket
import sys
import tempfile
import time
import traceback

import numpy as np

if __name__ == "__main__":
    sys.path.pop(0)  # this folder: its gymnasium.py would stand before the package of that name

PROTOCOL = 1
ROBOT, TABLE, OBJECT = 0, 1, 2
"""Order of the actors in every world, and the segmentation ids of what the cameras see."""
WXYZ, XYZW = [0, 1, 2, 6, 3, 4, 5], [0, 1, 2, 4, 5, 6, 3]
"""Columns of a pose: Isaac Gym's position and x y z w into ours (w x y z), and back."""


class Torch:
    """Tensors as Isaac Gym shares them: torch on the simulation's GPU."""

    def __init__(self, gymtorch, torch, device):
        self.torch, self.device = torch, device
        self.wrap, self.unwrap, self.stack = gymtorch.wrap_tensor, gymtorch.unwrap_tensor, torch.stack

    def load(self, array):
        """Host array to the device."""
        return self.torch.from_numpy(np.ascontiguousarray(array)).to(self.device)

    def store(self, out, tensor):
        """Device tensor into a shared host array: the one copy on this side."""
        self.torch.from_numpy(out).copy_(tensor)


class Simulation:
    """One Isaac Gym simulation of N worlds: a robot, a table, an object and the stereo pair in each.

    gymapi: the module; tensors: how its tensors are read and written; spec: the command `build`; memory: shared arrays.
    """

    def __init__(self, gymapi, tensors, spec, memory):
        self.api, self.gym, self.tensors, self.spec, self.memory = gymapi, gymapi.acquire_gym(), tensors, spec, memory
        self.count = len(spec["objects"])
        self.sim = self.gym.create_sim(
            spec["compute_device"], spec["graphics_device"], gymapi.SIM_PHYSX, self._sim_params()
        )
        expect(self.sim is not None, "create_sim returned nothing: is the GPU visible, and its driver 470 or newer?")
        self.envs, self.actors, self.cameras = [], [], []
        with tempfile.TemporaryDirectory(prefix="handsight-isaac-") as folder:
            self._populate(folder)
        self._dress()
        self.images = self._image_tensors()
        expect(self.gym.prepare_sim(self.sim) is not False, "prepare_sim failed")
        self._acquire()

    def _sim_params(self):
        api, params = self.api, self.api.SimParams()
        params.dt, params.substeps = self.spec["timestep"], 1
        params.up_axis, params.gravity = api.UP_AXIS_Z, api.Vec3(0.0, 0.0, -9.81)
        params.use_gpu_pipeline = params.physx.use_gpu = True
        params.physx.solver_type = 1
        params.physx.num_position_iterations, params.physx.num_velocity_iterations = 8, 1
        params.physx.contact_offset, params.physx.rest_offset = 0.002, 0.0
        params.physx.bounce_threshold_velocity = 0.2
        params.physx.max_depenetration_velocity = 2.0
        params.physx.contact_collection = api.ContactCollection(1)  # contacts of the last substep: `touch` reads them
        return params

    # -- before prepare_sim ----------------------------------------------------------------------------------------

    def _populate(self, folder):
        """Every world whole, one after the other: Isaac Gym takes no actor for a world once the next is begun."""
        robot = self._asset(folder, "robot.urdf", self.spec["robot"], fixed=True)
        self.joint_order = order(self.gym.get_asset_dof_names(robot), self.spec["joints"], "joints")
        bodies = self.gym.get_asset_rigid_body_names(robot)
        self.link_order = order(bodies, self.spec["links"], "links", more=True)
        still = self.api.AssetOptions()
        still.fix_base_link = True
        table = self.gym.create_box(self.sim, *self.spec["table"]["size"], still)
        half, row = self.spec["spacing"] / 2, int(self.count**0.5) + 1
        low, high = self.api.Vec3(-half, -half, 0.0), self.api.Vec3(half, half, 2 * half)
        for world in range(self.count):
            env = self.gym.create_env(self.sim, low, high, row)
            thing = self._asset(folder, f"object_{world}.urdf", self.spec["objects"][world])
            assets = ((robot, [0, 0, 0]), (table, self.spec["table"]["position"]), (thing, [0.62, 0.0, 0.1]))
            actors = []
            for kind, (asset, place) in enumerate(assets):
                own = 1 if kind == ROBOT else 0  # a filter bit of its own: the robot does not collide with itself
                pose = self._transform([*place, 0.0, 0.0, 0.0, 1.0])
                name = ("robot", "table", "object")[kind]
                actors.append(self.gym.create_actor(env, asset, pose, name, world, own, kind))
            self.envs.append(env)
            self.actors.append(actors)
            self._set_physics(env, actors, world)
            self.cameras.append([self._camera(env, actors[ROBOT], pose) for pose in self.spec["cameras"][world]])

    def _asset(self, folder, name, urdf, fixed=False):
        """Import a URDF. Isaac Gym reads files only, so it is written to a folder that is gone after building."""
        with open(os.path.join(folder, name), "w") as file:
            file.write(urdf)
        options = self.api.AssetOptions()
        options.fix_base_link = options.disable_gravity = fixed  # the robot's weight is compensated, as in MuJoCo
        options.collapse_fixed_joints = False  # the palm hangs on a fixed joint and must remain a body
        options.replace_cylinder_with_capsule = fixed  # URDF has no capsule: the robot's links are written as cylinders
        asset = self.gym.load_asset(self.sim, folder, name, options)
        expect(asset is not None, "load_asset could not import " + name)
        return asset

    def _transform(self, pose):
        """pose: position, then quaternion x y z w."""
        transform = self.api.Transform()
        transform.p, transform.r = self.api.Vec3(*pose[:3]), self.api.Quat(*pose[3:])
        return transform

    def _set_physics(self, env, actors, world):
        """Servos and friction of one world."""
        gym, drives = self.gym, self.spec["drives"]
        properties = gym.get_actor_dof_properties(env, actors[ROBOT])
        properties["driveMode"].fill(self.api.DOF_MODE_POS)
        for field, values in drives.items():  # stiffness, damping: a row for each world; effort, velocity, ...: one
            row = values[world] if isinstance(values[0], list) else values
            properties[field][self.joint_order] = row
        gym.set_actor_dof_properties(env, actors[ROBOT], properties)
        for actor in actors:  # PhysX takes the mean of two: the object's friction decides if all have it
            shapes = gym.get_actor_rigid_shape_properties(env, actor)
            for shape in shapes:
                shape.friction = self.spec["friction"][world]
            gym.set_actor_rigid_shape_properties(env, actor, shapes)

    def _camera(self, env, robot, pose):
        rig, gym = self.spec["rig"], self.gym
        properties = self.api.CameraProperties()
        properties.width, properties.height = rig["width"], rig["height"]
        properties.horizontal_fov = rig["horizontal_fov"]
        properties.near_plane, properties.far_plane = 0.01, 10.0
        properties.enable_tensors = True
        camera = gym.create_camera_sensor(env, properties)
        if rig["mount"] == "world":
            gym.set_camera_transform(camera, env, self._transform(pose))
        else:
            body = gym.find_actor_rigid_body_handle(env, robot, rig["mount"])
            gym.attach_camera_to_body(camera, env, body, self._transform(pose), self.api.FOLLOW_TRANSFORM)
        return camera

    def _dress(self):
        """Colours and textures of every world; the light is one for all of them."""
        looks, gym, api = self.spec["looks"], self.gym, self.api
        if not self.spec["render"]:
            return
        light = looks["light"]
        gym.set_light_parameters(self.sim, 0, *(api.Vec3(*light[key]) for key in ("intensity", "ambient", "direction")))
        textures = [
            gym.create_texture_from_buffer(self.sim, image.shape[1], image.shape[0], image.reshape(len(image), -1))
            for image in self.memory["textures"]
        ]
        for world, env in enumerate(self.envs):
            table, thing = self.actors[world][TABLE], self.actors[world][OBJECT]
            gym.set_rigid_body_texture(env, table, 0, api.MESH_VISUAL, textures[looks["texture"][world]])
            gym.set_rigid_body_color(env, table, 0, api.MESH_VISUAL, api.Vec3(*looks["table"][world]))
            gym.set_rigid_body_color(env, thing, 0, api.MESH_VISUAL, api.Vec3(*looks["object"][world]))

    def _image_tensors(self):
        """{kind: tensors of every camera of every world, world by world}, for the kinds that will be asked for."""
        api, render = self.api, self.spec["render"]
        kinds = {"segmentation": api.IMAGE_SEGMENTATION} if render else {}
        kinds.update({"depth": api.IMAGE_DEPTH} if "depth" in render else {})
        kinds.update({"color": api.IMAGE_COLOR} if "stereo" in render else {})
        images = {kind: [] for kind in kinds}
        for kind, number in kinds.items():
            for env, cameras in zip(self.envs, self.cameras):
                for camera in cameras[:1] if kind == "depth" or "stereo" not in render else cameras:
                    shared = self.gym.get_camera_image_gpu_tensor(self.sim, env, camera, number)
                    tensor = None if shared is None else self.tensors.wrap(shared)
                    expect(tensor is not None, NO_CAMERA_TENSOR.format(**self.spec))
                    images[kind].append(tensor)
        return images

    # -- after prepare_sim -----------------------------------------------------------------------------------------

    def _acquire(self):
        gym, sim, wrap = self.gym, self.sim, self.tensors.wrap
        self.roots = wrap(gym.acquire_actor_root_state_tensor(sim))
        self.dofs = wrap(gym.acquire_dof_state_tensor(sim))
        self.bodies = wrap(gym.acquire_rigid_body_state_tensor(sim)).reshape(self.count, -1, 13)
        self.contacts = wrap(gym.acquire_net_contact_force_tensor(sim)).reshape(self.count, -1, 3)
        worlds, domain = zip(self.envs, self.actors), self.api.DOMAIN_SIM
        index = [[gym.get_actor_index(env, actor, domain) for actor in actors] for env, actors in worlds]
        self.index = np.array(index, dtype=np.int32)

    def projection(self):
        """Focal lengths of the first camera in half images: the projection matrix's first two diagonal elements."""
        matrix = np.asarray(self.gym.get_camera_proj_matrix(self.sim, self.envs[0], self.cameras[0][0]))
        return [float(matrix[0, 0]), float(matrix[1, 1])]

    def advance(self, substeps, reset, render):
        """Set targets (and the states of the worlds marked in `reset`), simulate, and report where things are.

        Isaac Gym applies what is set at the next `simulate`, takes each kind of setter once before it, and wants its
        tensors refreshed once after it.
        """
        kept = self._set(reset)
        for _ in range(substeps):
            self.gym.simulate(self.sim)
            self.gym.fetch_results(self.sim, True)
        del kept  # Isaac Gym holds no reference to tensors that it was given
        for state in ("actor_root_state", "dof_state", "rigid_body_state", "net_contact_force"):
            getattr(self.gym, f"refresh_{state}_tensor")(self.sim)
        self._report()
        if render:
            self._render()

    def _set(self, reset):
        gym, sim, tensors, memory = self.gym, self.sim, self.tensors, self.memory
        targets = np.empty_like(memory["targets"])
        targets[:, self.joint_order] = memory["targets"]
        kept = [tensors.load(targets.reshape(-1))]
        done = [gym.set_dof_position_target_tensor(sim, tensors.unwrap(kept[0]))]
        worlds = np.flatnonzero(memory["reset"]) if reset else []
        if len(worlds):
            robots, things = (tensors.load(self.index[worlds, kind]) for kind in (ROBOT, OBJECT))
            joints = np.empty_like(memory["reset_joints"][worlds])
            joints[:, self.joint_order] = memory["reset_joints"][worlds]
            places = memory["reset_object"][worlds][:, [*XYZW, *range(7, 13)]]
            self.dofs.reshape(self.count, -1, 2)[tensors.load(worlds)] = tensors.load(joints)
            self.roots[tensors.load(self.index[worlds, OBJECT].astype(np.int64))] = tensors.load(places)
            kept += [robots, things]
            for setter, states, ids in (
                (gym.set_actor_root_state_tensor_indexed, self.roots, things),
                (gym.set_dof_state_tensor_indexed, self.dofs, robots),
            ):
                done.append(setter(sim, tensors.unwrap(states), tensors.unwrap(ids), len(worlds)))
        expect(all(result is not False for result in done), "Isaac Gym refused to set states or targets")
        return kept

    def _report(self):
        store, memory = self.tensors.store, self.memory
        store(memory["joints"], self.dofs.reshape(self.count, -1, 2)[:, self.joint_order])
        store(memory["links"], self.bodies[:, self.link_order][..., WXYZ])
        thing = self.roots.reshape(self.count, -1, 13)[:, OBJECT]
        store(memory["object"][:, :7], thing[:, WXYZ])
        store(memory["object"][:, 7:], thing[:, 7:])
        store(memory["force"], (self.contacts[:, self.link_order] ** 2).sum(-1) ** 0.5)

    def _render(self):
        gym, sim, memory, stack = self.gym, self.sim, self.memory, self.tensors.stack
        gym.step_graphics(sim)
        gym.render_all_camera_sensors(sim)
        gym.start_access_image_tensors(sim)
        height, width = self.spec["rig"]["height"], self.spec["rig"]["width"]
        seen = stack(self.images["segmentation"]).reshape(self.count, -1, height * width) == OBJECT
        self.tensors.store(memory["object_pixels"], seen.sum(-1))
        if "depth" in self.images:
            depth = -stack(self.images["depth"]).reshape(self.count, 1, height, width)  # Isaac Gym's are negative
            depth[depth == float("inf")] = 0.0
            self.tensors.store(memory["depth"], depth)
        if "color" in self.images:
            rgba = stack(self.images["color"]).reshape(self.count, 2, height, width, 4)
            self.tensors.store(memory["stereo"], rgba[..., :3].swapaxes(-1, -3).swapaxes(-1, -2))
        gym.end_access_image_tensors(sim)


NO_CAMERA_TENSOR = (
    "the camera tensors are None (CUDA's error 101): graphics device {graphics_device} is not the GPU of compute "
    "device {compute_device}. Vulkan numbers GPUs by itself and ignores CUDA_VISIBLE_DEVICES: try another one"
)


def expect(holds, message):
    """Isaac Gym reports most failures by returning nothing."""
    if not holds:
        raise RuntimeError(message)


def order(found, wanted, what, more=False):
    """Places of our names in Isaac Gym's order, which need not be the file's."""
    missing = [name for name in wanted if name not in found]
    extra = [] if more else [name for name in found if name not in wanted]
    expect(not missing and not extra, f"the imported robot's {what}: {missing} are missing, {extra} too many")
    return [found.index(name) for name in wanted]


class Worker:
    """Answers the commands that come over the socket."""

    def __init__(self, memory_file):
        self.file, self.memory, self.simulation = memory_file, {}, None

    def open(self, layout, size):
        """Map the shared memory and import Isaac Gym. layout: {name: [offset, shape, dtype]}."""
        shared = mmap.mmap(self.file, size)
        for name, (offset, shape, dtype) in layout.items():
            count = int(np.prod(shape))
            self.memory[name] = np.frombuffer(shared, dtype, count, offset).reshape(shape)
        versions = {"python": platform.python_version(), "numpy": np.__version__}
        from isaacgym import gymapi, gymtorch  # pyright: ignore[reportMissingImports, reportAttributeAccessIssue] # isort: skip
        import torch  # isort: skip # Isaac Gym refuses to be imported after it

        self.api, self.gymtorch, self.torch = gymapi, gymtorch, torch
        versions.update(torch=torch.__version__, cuda=str(torch.version.cuda), isaacgym=isaacgym_version())
        return {"versions": versions, "gpu": torch.cuda.get_device_name(0)}

    def build(self, **spec):
        """Make the simulation; once in the life of this process."""
        expect(self.simulation is None, "PhysX allows one simulation in a process: build was asked for twice")
        device = f"cuda:{spec['compute_device']}"
        tensors = Torch(self.gymtorch, self.torch, device)
        self.simulation = Simulation(self.api, tensors, spec, self.memory)
        return {"projection": self.simulation.projection() if spec["render"] else None}

    def advance(self, substeps, reset, render):
        assert self.simulation is not None, "advance comes after build"
        self.simulation.advance(substeps, reset, render)
        return {}


def isaacgym_version():
    """As the package says itself, or as it was installed."""
    from importlib import metadata

    try:
        return getattr(sys.modules["isaacgym"], "__version__", None) or metadata.version("isaacgym")
    except metadata.PackageNotFoundError:
        return "unknown"


def die_with(parent):
    """Have the kernel kill this process when its owner dies, in whatever state either of them is (Linux)."""
    set_parent_death_signal = 1  # PR_SET_PDEATHSIG
    ctypes.CDLL(None).prctl(set_parent_death_signal, signal.SIGKILL)
    if os.getppid() != parent:  # it died before the call above
        os.kill(os.getpid(), signal.SIGKILL)


def answer(worker, line):
    """One command: {"id", "command", arguments ...} to {"id", "seconds", ...} or {"id", "error", "trace"}."""
    request = json.loads(line)
    number, command = request.pop("id"), request.pop("command")
    started = time.perf_counter()
    try:
        if command not in ("open", "build", "advance"):
            raise ValueError(f"unknown command {command!r}")
        reply = getattr(worker, command)(**request)
    except Exception as error:
        reply = {"error": f"{type(error).__name__}: {error}", "trace": traceback.format_exc()}
    return dict(reply, id=number, seconds=time.perf_counter() - started)


def main(argument):
    start = json.loads(argument)
    die_with(start["parent"])
    os.set_inheritable(start["control"], False)  # what outlived us would hold the socket open
    control = socket.socket(fileno=start["control"]).makefile("rw", encoding="utf-8", newline="\n")
    worker = Worker(start["memory"])

    def send(message):
        control.write(json.dumps(message) + "\n")
        control.flush()

    send({"protocol": PROTOCOL})
    for line in control:
        send(answer(worker, line))


if __name__ == "__main__":
    main(sys.argv[1])
