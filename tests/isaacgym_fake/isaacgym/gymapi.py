"""A substitute for Isaac Gym's binary that checks how it is called. No physics: nothing falls over, nothing slips.

Rules of Isaac Gym's documentation that a caller can break are checked (`RuleBroken`); what lies behind is
kinematic: joints follow their servos without inertia, objects fall straight down onto the table, cameras see the table,
the object's bounding ball and nothing else. Written for Python 3.8 and NumPy alone.
"""

import math
from types import SimpleNamespace

import numpy as np

from .geometry import Asset, cast, matrix, pixel_rays, quaternion, read_urdf

SIM_PHYSX, UP_AXIS_Z, DOF_MODE_POS, DOMAIN_SIM, FOLLOW_TRANSFORM, MESH_VISUAL = "physx", "z", 1, "sim", "follow", 1
IMAGE_COLOR, IMAGE_DEPTH, IMAGE_SEGMENTATION = "color", "depth", "segmentation"
TOUCH = 0.012
"""m: a link whose end is this near to the object's ball feels it."""
DOF_FIELDS = [
    ("driveMode", "i4"),
    *((name, "f4") for name in ("stiffness", "damping", "velocity", "effort", "armature")),
]


class RuleBroken(RuntimeError):
    """Isaac Gym was called in a way that its documentation forbids."""


def rule(holds, message):
    if not holds:
        raise RuleBroken("Isaac Gym's rules: " + message)


def alive(reference, setter):
    """The tensor behind a descriptor."""
    tensor = reference()
    if tensor is None:
        raise RuleBroken("Isaac Gym's rules: " + setter + ": its tensor no longer exists")
    return tensor


class Vec3(SimpleNamespace):
    def __init__(self, x=0.0, y=0.0, z=0.0):
        super().__init__(x=x, y=y, z=z)

    def array(self):
        return np.array([self.x, self.y, self.z])


class Quat(SimpleNamespace):
    def __init__(self, x=0.0, y=0.0, z=0.0, w=1.0):
        super().__init__(x=x, y=y, z=z, w=w)

    def array(self):
        return np.array([self.x, self.y, self.z, self.w])


def Transform():
    return SimpleNamespace(p=Vec3(), r=Quat())


def SimParams():
    return SimpleNamespace(physx=SimpleNamespace(), use_gpu_pipeline=False)


AssetOptions = CameraProperties = SimpleNamespace
ContactCollection = int


def acquire_gym():
    return Gym()


class Gym:
    """One simulation, its phases and what may be called in each."""

    def __init__(self):
        self.params, self.prepared, self.worlds, self.textures = None, False, [], []
        self.pending, self.fresh, self.frame = {}, set(), "none"

    def create_sim(self, compute, graphics, engine, params):
        rule(self.params is None, "PhysX exists once in a process: create_sim was called twice")
        rule(engine == SIM_PHYSX and params.use_gpu_pipeline, "the tensor API needs SIM_PHYSX and use_gpu_pipeline")
        self.params, self.dt, self.graphics = params, params.dt, graphics
        return self

    # -- before prepare_sim: assets, worlds, actors, cameras --------------------------------------------------------

    def _setting_up(self, what):
        rule(not self.prepared, what + " must come before prepare_sim")

    def load_asset(self, sim, folder, name, options):
        self._setting_up("load_asset")
        return read_urdf(folder + "/" + name)

    def create_box(self, sim, x, y, z, options):
        self._setting_up("create_box")
        return Asset({"box": [(np.zeros(3), np.array([x, y, z]) / 2)]})

    def get_asset_dof_names(self, asset):
        return asset.dof_names

    def get_asset_rigid_body_names(self, asset):
        return asset.links

    def create_env(self, sim, low, high, row):
        self._setting_up("create_env")
        self.worlds.append(SimpleNamespace(actors=[], cameras=[], index=len(self.worlds)))
        return self.worlds[-1]

    def create_actor(self, env, asset, pose, name, group, own, segment):
        self._setting_up("create_actor")
        rule(env is self.worlds[-1], "no actor can be added to a world once the next one is begun")
        shapes = [SimpleNamespace(friction=1.0) for _ in asset.all_shapes]
        dofs = np.zeros(len(asset.moving), DOF_FIELDS)
        env.actors.append(SimpleNamespace(asset=asset, pose=pose, shapes=shapes, dofs=dofs, color=Vec3(1, 1, 1)))
        return len(env.actors) - 1

    def get_actor_dof_properties(self, env, actor):
        return env.actors[actor].dofs.copy()

    def set_actor_dof_properties(self, env, actor, properties):
        self._setting_up("set_actor_dof_properties")
        env.actors[actor].dofs = properties.copy()

    def get_actor_rigid_shape_properties(self, env, actor):
        return [SimpleNamespace(**vars(shape)) for shape in env.actors[actor].shapes]

    def get_actor_rigid_body_shape_indices(self, env, actor):
        asset, spans, start = env.actors[actor].asset, [], 0
        for link in asset.links:
            spans.append(SimpleNamespace(start=start, count=len(asset.shapes[link])))
            start += len(asset.shapes[link])
        return spans

    def set_actor_rigid_shape_properties(self, env, actor, shapes):
        self._setting_up("set_actor_rigid_shape_properties")
        env.actors[actor].shapes = shapes

    def find_actor_rigid_body_handle(self, env, actor, name):
        return env.actors[actor].asset.links.index(name)

    def create_camera_sensor(self, env, properties):
        self._setting_up("create_camera_sensor")
        env.cameras.append(SimpleNamespace(properties=properties, images={}, body=None))
        return len(env.cameras) - 1

    def set_camera_transform(self, camera, env, transform):
        env.cameras[camera].place = transform

    def attach_camera_to_body(self, camera, env, body, transform, mode):
        env.cameras[camera].place, env.cameras[camera].body = transform, body

    def get_camera_proj_matrix(self, sim, env, camera):
        properties = env.cameras[camera].properties
        x = 1.0 / math.tan(math.radians(properties.horizontal_fov) / 2)
        return np.diag([x, x * properties.width / properties.height, 1.0, 1.0])

    def get_camera_image_gpu_tensor(self, sim, env, camera, kind):
        properties = env.cameras[camera].properties
        rule(getattr(properties, "enable_tensors", False), "image tensors need CameraProperties.enable_tensors")
        if self.graphics < 0:
            return None  # the binary prints error 101 and returns this
        shape, dtype = (properties.height, properties.width), {IMAGE_DEPTH: "f4", IMAGE_SEGMENTATION: "i4"}
        shape = (*shape, 4) if kind == IMAGE_COLOR else shape
        return env.cameras[camera].images.setdefault(kind, np.zeros(shape, dtype.get(kind, "u1")))

    def set_light_parameters(self, sim, index, intensity, ambient, direction):
        self.brightness = intensity.x

    def create_texture_from_buffer(self, sim, width, height, pixels):
        rule(pixels.shape == (height, 4 * width) and pixels.dtype == np.uint8, "textures are (height, 4 width) uint8")
        self.textures.append(pixels)
        return len(self.textures) - 1

    def set_rigid_body_texture(self, env, actor, body, mesh, texture):
        rule(texture < len(self.textures), "the texture must exist")

    def set_rigid_body_color(self, env, actor, body, mesh, color):
        env.actors[actor].color = color

    def get_actor_index(self, env, actor, domain):
        return env.index * len(env.actors) + actor

    def prepare_sim(self, sim):
        self._setting_up("prepare_sim")
        first, count = self.worlds[0].actors, len(self.worlds)
        rule(all(len(world.actors) == len(first) for world in self.worlds), "worlds must hold the same actors")
        self.prepared, self.robot = True, first[0].asset
        properties = np.stack([world.actors[0].dofs for world in self.worlds])
        rule((properties["driveMode"] == DOF_MODE_POS).all(), "position targets need driveMode DOF_MODE_POS")
        self.rate = properties["stiffness"] / properties["damping"]
        self.fastest = properties["velocity"]
        self.q, self.v = np.zeros((2, *properties.shape), "f4")  # single precision, as what is reported
        self.targets = self.q.copy()
        self.root = np.zeros((count, len(first), 13), "f4")
        for state, world in zip(self.root, self.worlds):
            for row, actor in zip(state, world.actors):
                row[:7] = [*actor.pose.p.array(), *actor.pose.r.array()]
        self.below, self.ball = np.array([world.actors[2].asset.extent() for world in self.worlds]).T
        self.table = first[1].pose.p.array(), first[1].asset.all_shapes[0][1]
        self.table_top = self.table[0][2] + self.table[1][2]
        bodies = sum(len(actor.asset.links) for actor in first)
        self.tensors = {
            "dof": np.zeros((self.q.size, 2), "f4"), "actor_root": np.zeros((self.root[..., 0].size, 13), "f4"),
            "rigid_body": np.zeros((count * bodies, 13), "f4"), "net_contact": np.zeros((count * bodies, 3), "f4"),
        }  # fmt: skip
        return True

    # -- the tensor API --------------------------------------------------------------------------------------------

    def _acquire(self, name):
        rule(self.prepared, "tensors are acquired after prepare_sim")
        return self.tensors[name]

    def _refresh(self, name):
        rule(not self.pending, "tensors refreshed after a setter are stale until simulate: refresh first")
        rule(name not in self.fresh, "tensors are refreshed once after each simulate")
        self.fresh.add(name)
        return self.tensors[name]

    def acquire_actor_root_state_tensor(self, sim):
        return self._acquire("actor_root")

    def acquire_dof_state_tensor(self, sim):
        return self._acquire("dof")

    def acquire_rigid_body_state_tensor(self, sim):
        return self._acquire("rigid_body")

    def acquire_net_contact_force_tensor(self, sim):
        return self._acquire("net_contact")

    def refresh_actor_root_state_tensor(self, sim):
        self._refresh("actor_root")[:] = self.root.reshape(-1, 13)

    def refresh_dof_state_tensor(self, sim):
        self._refresh("dof")[:] = np.stack([self.q, self.v], -1).reshape(-1, 2)

    def refresh_rigid_body_state_tensor(self, sim):
        states = np.zeros((len(self.q), len(self.robot.links) + 2, 13))
        places, turns = self._kinematics()
        for i in range(len(self.robot.links)):
            states[:, i, :3], states[:, i, 3:7] = places[:, i], quaternion(turns[:, i])
        states[:, -2:] = self.root[:, 1:]
        self._refresh("rigid_body")[:] = states.reshape(-1, 13)

    def refresh_net_contact_force_tensor(self, sim):
        places, turns = self._kinematics()
        forces = np.zeros((len(self.q), len(self.robot.links) + 2, 3))
        for i, link in enumerate(self.robot.links):
            for place, size in self.robot.shapes[link]:
                gap = np.linalg.norm(places[:, i] + turns[:, i] @ place - self.root[:, 2, :3], axis=1)
                forces[:, i, 2] = np.maximum(forces[:, i, 2], gap < self.ball + size.min() + TOUCH)
        self._refresh("net_contact")[:] = forces.reshape(-1, 3)

    def _set(self, setter, values, shape, indices=None, count=None):
        rule(self.prepared, setter + " must come after prepare_sim")
        rule(setter not in self.pending, setter + " may be called once between two calls of simulate")
        rule(values().shape == shape and values().dtype == np.float32, f"{setter} takes float32 {shape}")
        if indices is not None:
            ids = indices()
            rule(ids.dtype == np.int32, setter + " takes 32-bit actor ids")
            rule(len(ids) == count == len(set(ids.tolist())), setter + " takes unique actor ids and their number")
            rule((ids >= 0).all() and (ids < self.root[..., 0].size).all(), setter + ": no such actor")
        self.pending[setter] = (values, indices)
        return True

    def set_dof_position_target_tensor(self, sim, targets):
        return self._set("set_dof_position_target_tensor", targets, (self.q.size,))

    def set_actor_root_state_tensor_indexed(self, sim, roots, ids, count):
        shape = self.tensors["actor_root"].shape
        return self._set("set_actor_root_state_tensor_indexed", roots, shape, ids, count)

    def set_dof_state_tensor_indexed(self, sim, dofs, ids, count):
        return self._set("set_dof_state_tensor_indexed", dofs, self.tensors["dof"].shape, ids, count)

    def _apply(self):
        actors = self.root.shape[1]
        for setter, (values, indices) in self.pending.items():
            array = alive(values, setter)
            if indices is None:
                self.targets[:] = array.reshape(self.targets.shape)
                continue
            ids = alive(indices, setter)
            if setter == "set_actor_root_state_tensor_indexed":
                self.root.reshape(-1, 13)[ids] = array[ids]
            else:
                rule((ids % actors == 0).all(), setter + " takes ids of actors that have joints")
                rows = array.reshape(*self.q.shape, 2)[ids // actors]
                self.q[ids // actors], self.v[ids // actors] = rows[..., 0], rows[..., 1]
        self.pending = {}

    def simulate(self, sim):
        rule(self.prepared, "simulate must come after prepare_sim")
        self._apply()
        dt, thing = self.dt, self.root[:, 2]
        self.v = np.clip((self.targets - self.q) * self.rate, -self.fastest, self.fastest)
        self.q = self.q + self.v * dt
        thing[:, 9] -= 9.81 * dt
        thing[:, :3] += thing[:, 7:10] * dt
        landed = (thing[:, 2] < self.table_top + self.below) & (thing[:, 2] > self.table_top)
        thing[landed, 2], thing[landed, 7:] = (self.table_top + self.below)[landed], 0.0
        self.fresh, self.frame, self.poses = set(), "simulated", None

    def fetch_results(self, sim, wait):
        rule(self.frame == "simulated", "fetch_results belongs after simulate")
        self.frame = "fetched"

    def _kinematics(self):
        if self.poses is None:
            self.poses = self.robot.kinematics(self.q)
        return self.poses

    # -- cameras ---------------------------------------------------------------------------------------------------

    def step_graphics(self, sim):
        rule(self.frame == "fetched", "step_graphics belongs after fetch_results")
        self.frame = "stepped"

    def render_all_camera_sensors(self, sim):
        rule(self.frame != "read", "render_all_camera_sensors between start and end of access deadlocks")
        rule(self.frame == "stepped", "render_all_camera_sensors belongs after step_graphics")
        self.frame = "rendered"

    def start_access_image_tensors(self, sim):
        rule(self.frame == "rendered", "start_access_image_tensors belongs after render_all_camera_sensors")
        self.frame = "read"
        for slot in range(len(self.worlds[0].cameras)):
            self._draw(slot)

    def end_access_image_tensors(self, sim):
        rule(self.frame == "read", "end_access_image_tensors belongs after start_access_image_tensors")
        self.frame = "done"
        for world in self.worlds:
            for camera in world.cameras:
                for image in camera.images.values():
                    image[...] = 77  # what is read now is wrong, as it may be in the binary

    def _draw(self, slot):
        """Cast the rays of one camera of every world onto the table and the object's ball."""
        cameras = [world.cameras[slot] for world in self.worlds]
        size, places, turns = cameras[0].properties, *self._kinematics()
        eye = np.array([camera.place.p.array() for camera in cameras])
        turn = matrix([camera.place.r.array() for camera in cameras])
        if cameras[0].body is not None:
            body, at = turns[:, cameras[0].body], places[:, cameras[0].body]
            eye, turn = at + (body @ eye[..., None])[..., 0], body @ turn
        ray = pixel_rays(size.width, size.height, size.horizontal_fov)[None] @ turn.swapaxes(1, 2)
        depth, seen = cast(eye, ray, self.table, (self.root[:, 2, :3], self.ball))
        self._paint(cameras, depth, seen)

    def _paint(self, cameras, depth, seen):
        colors = np.array([[[0.55, 0.62, 0.7], *(a.color.array() for a in w.actors[1:])] for w in self.worlds])
        rgb = np.take_along_axis(colors, seen[..., None], 1) * 255
        for camera, far, kind, color in zip(cameras, depth, seen, rgb):
            for name, image in camera.images.items():
                if name == IMAGE_COLOR:
                    image[...] = 255
                    image[..., :3] = color.reshape(*image.shape[:2], 3)
                else:
                    image[...] = (-far if name == IMAGE_DEPTH else kind).reshape(image.shape)
