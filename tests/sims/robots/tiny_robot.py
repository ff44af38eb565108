"""Files of a tiny robot, written where a test wants them: an arm of six joints, a hand of two fingers with a tendon."""

from pathlib import Path

ARM = """
<mujoco model="tiny_arm">
  <worldbody>
    <body name="foot">
      <geom type="box" size=".05 .05 .02" mass="1"/>
      <body name="x"><joint name="x" type="slide" axis="1 0 0" range="-2 2" damping="50"/>
      <geom size=".02" mass="1" contype="0" conaffinity="0"/>
      <body name="y"><joint name="y" type="slide" axis="0 1 0" range="-2 2" damping="50"/>
      <geom size=".02" mass="1" contype="0" conaffinity="0"/>
      <body name="z"><joint name="z" type="slide" axis="0 0 1" range="-2 2" damping="50"/>
      <geom size=".02" mass="1" contype="0" conaffinity="0"/>
      <body name="roll"><joint name="roll" axis="1 0 0" range="-180 180" damping="5"/>
      <geom size=".02" mass="1" contype="0" conaffinity="0"/>
      <body name="pitch"><joint name="pitch" axis="0 1 0" range="-180 180" damping="5"/>
      <geom size=".02" mass="1" contype="0" conaffinity="0"/>
      <body name="yaw"><joint name="yaw" axis="0 0 1" range="-180 180" damping="5"/>
      <geom size=".02" mass="1" contype="0" conaffinity="0"/>
      <site name="flange" pos="0 0 .02"/>
      </body></body></body></body></body></body>
    </body>
  </worldbody>
  <actuator>
    <position joint="x" kp="2000" kv="200" forcerange="-90 90"/><position joint="y" kp="2000" kv="200"/>
    <position joint="z" kp="2000" kv="200"/><position joint="roll" kp="300" kv="30"/>
    <position joint="pitch" kp="300" kv="30"/><position joint="yaw" kp="300" kv="30"/>
  </actuator>
  <keyframe><key name="up" qpos="0 0 .5 0 0 0"/></keyframe>
</mujoco>
"""
HAND = """
<mujoco model="tiny_hand">
  <asset><mesh name="wedge" vertex="-.02 -.04 0  .02 -.04 0  -.02 .04 0  .02 .04 0  0 -.04 .06  0 .04 .06"/></asset>
  <worldbody>
    <body name="palm" pos="0 0 1" quat="0 1 0 0">
      <freejoint/>
      <geom name="looks" type="mesh" mesh="wedge" contype="0" conaffinity="0" mass=".1"/>
      <geom name="wedge" type="mesh" mesh="wedge" mass=".2"/>
      <site name="middle" pos=".05 0 .09"/>
      <body name="long_1" pos="0 .02 .06"><joint name="long_1" axis="0 1 0" range="0 80" damping=".1"/>
        <geom type="capsule" fromto="0 0 0 0 0 .04" size=".01" mass=".05"/>
        <body name="long_2" pos="0 0 .04"><joint name="long_2" axis="0 1 0" range="0 80" damping=".1"/>
          <geom type="capsule" fromto="0 0 0 0 0 .04" size=".01" mass=".05"/><site name="long_end" pos="0 0 .04"/>
        </body>
      </body>
      <body name="thumb_1" pos=".03 -.02 .02"><joint name="thumb_1" axis="0 -1 0" range="-80 40" damping=".1"/>
        <geom name="pad" type="capsule" fromto="0 0 0 .05 0 .04" size=".01" mass=".05"/>
      </body>
    </body>
  </worldbody>
  <tendon><fixed name="long"><joint joint="long_1" coef=".5"/><joint joint="long_2" coef=".5"/></fixed></tendon>
  <actuator>
    <position name="pull" tendon="long" kp="12" kv=".4" forcerange="-2 2"/>
    <position name="thumb" joint="thumb_1" kp="3" kv=".1"/>
  </actuator>
  <keyframe><key qpos="0 0 1 1 0 0 0 .1 .1 .1"/><key qpos="0 0 1 1 0 0 0 .2 .2 .2"/></keyframe>
</mujoco>
"""
ROBOT = """
arm = "arm.xml"
hand = "hand.xml"
[mount]
at = "flange"
[palm]
body = "palm"
pos = [0, 0, 0.06]
[grasp]
site = "middle"
[home]
x = 0.6
z = 0.2
pitch = 2.37
[closed_hand]
long_1 = 0.6
long_2 = 0.8
thumb_1 = 0.3
[[digits]]
name = "long"
root = "long_1"
tip = "long_end"
[[digits]]
name = "thumb"
root = "thumb_1"
tip = "pad"
tip_pos = [0, 0, 0.03]
"""


def write_robot(folder: Path, robot: str = ROBOT, arm: str = ARM, hand: str = HAND, name: str = "tiny") -> Path:
    """Write the three files into a folder; returns the path of the TOML file."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "arm.xml").write_text(arm)
    (folder / "hand.xml").write_text(hand)
    path = folder / f"{name}.toml"
    path.write_text(robot)
    return path
