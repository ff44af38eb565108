// The body of `cast` in ray_caster.py: all images of one world. Warp compiles it as the inside of a function, so that
// functions are lambdas here; eight pixels of a row are computed at once, without branches, in vectors of the compiler.
//
// A ray of the camera is (X, Y, -1) t in its frame: t is the depth along the optical axis. In a geom's frame it is
// eye + (ray[0] X + ray[1] Y + ray[2]) t. All geoms are convex, so that along a ray each has one entry; one that lies
// behind the camera, as of a geom that the camera is in, is no hit (mujoco_warp culls back faces).
typedef float Floats __attribute__((ext_vector_type(8), aligned(4)));
typedef int Ints __attribute__((ext_vector_type(8), aligned(4)));
typedef unsigned char Bytes __attribute__((ext_vector_type(8), aligned(1)));
enum { LANES = 8, PLANE = 0, SPHERE = 2, CAPSULE = 3, ELLIPSOID = 4, CYLINDER = 5, BOX = 6, HULL = 7 };

const long long world = first + index;  // long, so that sizes of all images fit

struct Geom {
    int id, type, material;
    int mesh;                      // of a hull
    int left, right, top, bottom;  // the pixels that it can cover, [left, right) x [top, bottom), in whole vectors
    float eye[3], ray[3][3];       // the camera and its rays in the geom's frame
    float size[3], rgb[3];
};
Geom geoms[256];

const int width = scene.width, height = scene.height, stride = (width + LANES - 1) / LANES * LANES;
float* const across = shot.lengths.data + thread * stride * (height + 1);  // X of each column
float* const depth = across + stride;                                      // nearest entry so far
int* const owner = shot.numbers.data + 2 * thread * stride * height;       // geom that it belongs to, or -1
int* const colour = owner + stride * height;                               // 0xBBGGRR

auto least = [](Floats a, Floats b) { return a < b ? a : b; };  // b, as in most, where one is not a number
auto most = [](Floats a, Floats b) { return a > b ? a : b; };
auto root = [](Floats a) { return __builtin_elementwise_sqrt(a); };
auto size_of = [](Floats a) { return __builtin_elementwise_abs(a); };
auto dot = [](const float* a, const float* b) { return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]; };

// The camera and its rays in a geom's frame; false if the geom is invisible.
auto approach = [&](Geom& g, int camera) {
    const long long row = world * scene.geoms + g.id, view = world * scene.cameras + camera;
    g.material = scene.geom_matid.data[row], g.mesh = scene.geom_dataid.data[row];
    const float* rgba = scene.geom_rgba.data + 4 * row;
    if (g.material >= 0 && rgba[0] == 0.5f && rgba[1] == 0.5f && rgba[2] == 0.5f && rgba[3] == 1)
        rgba = scene.mat_rgba.data + 4 * g.material;
    const double *at = shot.geom_xpos.data + 3 * row, *turn = shot.geom_xmat.data + 9 * row;
    const double *from = shot.cam_xpos.data + 3 * view, *axes = shot.cam_xmat.data + 9 * view;
    for (int i = 0; i < 3; i++) {
        g.rgb[i] = rgba[i];
        g.size[i] = scene.geom_size.data[3 * row + (g.type == SPHERE ? 0 : i)];
        g.eye[i] = g.ray[0][i] = g.ray[1][i] = g.ray[2][i] = 0;
        for (int w = 0; w < 3; w++) {
            const float part = turn[3 * w + i];
            g.eye[i] += part * (float)(from[w] - at[w]);
            g.ray[0][i] += part * (float)axes[3 * w];
            g.ray[1][i] += part * (float)axes[3 * w + 1];
            g.ray[2][i] -= part * (float)axes[3 * w + 2];
        }
    }
    return rgba[3] != 0 && (g.type != HULL || g.mesh >= 0);
};

// Half size of a geom's bounding box in its own frame along an axis, whose middle lies elsewhere for a hull only.
auto reach = [&](const Geom& g, int axis) {
    const float endless = 1000;
    switch (g.type) {
    case PLANE:
        return axis == 2 ? 0 : g.size[axis] > 0 ? g.size[axis] : endless;
    case CAPSULE:
    case CYLINDER:
        return axis < 2 ? g.size[0] : g.size[1] + (g.type == CAPSULE ? g.size[0] : 0);
    case HULL:
        return scene.mesh_aabb.data[6 * g.mesh + 3 + axis];
    default:
        return g.size[axis];
    }
};

// The rectangle of pixels around a geom's bounding box; false if it is empty.
auto frame = [&](Geom& g, float tan_x, float tan_y) {
    const Floats sign[3] = {{-1, 1, -1, 1, -1, 1, -1, 1}, {-1, -1, 1, 1, -1, -1, 1, 1}, {-1, -1, -1, -1, 1, 1, 1, 1}};
    Floats corner[3] = {0, 0, 0}, other[3];  // how far the eight are to the right, up and ahead of the camera
    for (int i = 0; i < 3; i++)
        for (int axis = 0; axis < 3; axis++) {
            const float middle = g.type == HULL ? scene.mesh_aabb.data[6 * g.mesh + i] : 0;
            corner[axis] += g.ray[axis][i] * (sign[i] * reach(g, i) + (middle - g.eye[i]));
        }
    const float near = 1e-6f, slack = 1e-4f;
    float low[2] = {1e9f, 1e9f}, high[2] = {-1e9f, -1e9f};  // -1..1 over the image, down and to the right
    auto include = [&](Ints which, const Floats* point, Floats ahead) {
        for (int axis = 0; axis < 2; axis++) {
            const Floats at = point[axis] / ahead / (axis == 0 ? tan_x : -tan_y);
            const float least = __builtin_reduce_min(which ? at : 1e9f);
            const float most = __builtin_reduce_max(which ? at : -1e9f);
            low[axis] = least < low[axis] ? least : low[axis], high[axis] = most > high[axis] ? most : high[axis];
        }
    };
    const Ints ahead = corner[2] > near;
    include(ahead, corner, corner[2]);
    for (int step = 1; step < 8 && !__builtin_reduce_and(ahead); step *= 2) {  // where edges pass the camera
        Ints passes;
        for (int i = 0; i < LANES; i++) {
            passes[i] = ahead[i] & ~ahead[i ^ step];
            for (int axis = 0; axis < 3; axis++)
                other[axis][i] = corner[axis][i ^ step];
        }
        const Floats share = (corner[2] - near) / (corner[2] - other[2]);
        for (int axis = 0; axis < 2; axis++)
            other[axis] = corner[axis] + share * (other[axis] - corner[axis]);
        include(passes, other, near);
    }
    auto first = [](float edge, int count) {  // pixel whose middle is the first beyond an edge
        const float pixel = (edge + 1) / 2 * count + 0.5f;
        return pixel < 0 ? 0 : pixel > count ? count : (int)pixel;
    };
    g.left = first(low[0] - slack, width) / LANES * LANES;
    g.right = (first(high[0] + slack, width) + LANES - 1) / LANES * LANES;
    g.top = first(low[1] - slack, height), g.bottom = first(high[1] + slack, height);
    return g.left < g.right && g.top < g.bottom;
};

// Calls visit(index of the first pixel, ray in the geom's frame) for every vector of pixels that a geom can cover.
auto sweep = [&](const Geom& g, float tan_y, auto visit) {
    for (int row = g.top; row < g.bottom; row++) {
        const float y = tan_y * (1 - (2 * row + 1) / (float)height);
        float base[3];
        for (int i = 0; i < 3; i++)
            base[i] = g.ray[1][i] * y + g.ray[2][i];
        for (int column = g.left; column < g.right; column += LANES) {
            const Floats x = *(Floats*)(across + column);
            visit(row * stride + column, g.ray[0][0] * x + base[0], g.ray[0][1] * x + base[1],
                  g.ray[0][2] * x + base[2]);
        }
    }
};

// Keeps the entries of a geom that are nearer than what was found. Of two at the same place the later geom is seen.
auto cast = [&](const Geom& g, float tan_y, auto entry) {
    sweep(g, tan_y, [&](int at, Floats x, Floats y, Floats z) {
        Floats& nearest = *(Floats*)(depth + at);
        Ints& whose = *(Ints*)(owner + at);
        const Floats t = entry(x, y, z);
        const Ints closer = (t >= 0) & (t - nearest <= 1e-6f * most(nearest, 1));
        nearest = closer ? t : nearest;
        whose = closer ? g.id : whose;
    });
};

// Where a ray enters what lies between two planes, and leaves it.
auto slab = [&](float from, Floats along, float half, Floats& enter, Floats& leave) {
    const Floats inverse = 1 / along, a = (-half - from) * inverse, b = (half - from) * inverse;
    enter = most(least(a, b), enter), leave = least(most(a, b), leave);
};

// Where a ray passes the middle of something round about the origin, and half the way inside it: not a number if it
// misses. By way of the point nearest to the middle, which keeps the digits that b^2 - a c loses far away.
auto round = [&](Floats ex, Floats ey, Floats ez, Floats x, Floats y, Floats z, float radius, Floats& halfway) {
    const Floats inverse = 1 / most(x * x + y * y + z * z, 1e-20f), middle = -(ex * x + ey * y + ez * z) * inverse;
    const Floats px = ex + middle * x, py = ey + middle * y, pz = ez + middle * z;
    halfway = root((radius * radius - (px * px + py * py + pz * pz)) * inverse);
    return middle;
};

// The entry into a hull lies where a ray passes the last of the planes inward, if before the first one outward.
auto find_hull = [&](const Geom& g, float tan_y) {
    const float* planes = scene.planes.data + 4 * scene.hull_start.data[g.mesh];
    const int count = scene.hull_start.data[g.mesh + 1] - scene.hull_start.data[g.mesh];
    cast(g, tan_y, [&](Floats x, Floats y, Floats z) {
        Floats enter = -1e30f, leave = 1e30f;
        for (int i = 0; i < count; i++) {
            const float* n = planes + 4 * i;
            const Floats outward = n[0] * x + n[1] * y + n[2] * z + 1e-30f;
            const Floats t = (n[3] - dot(n, g.eye)) / outward;
            enter = outward < 0 ? most(enter, t) : enter, leave = outward < 0 ? leave : least(leave, t);
        }
        return enter <= leave ? enter : Floats(-1);
    });
};

// Casts a geom by its type.
auto find = [&](const Geom& g, float tan_y) {
    const float ex = g.eye[0], ey = g.eye[1], ez = g.eye[2], *size = g.size;
    const Floats none = -1, zero = 0;
    switch (g.type) {
    case PLANE: {  // seen from above only
        const float wide = reach(g, 0), deep = reach(g, 1);
        cast(g, tan_y, [&](Floats x, Floats y, Floats z) {
            const Floats t = -ez / z;
            const Ints within = (z < 0) & (size_of(ex + t * x) <= wide) & (size_of(ey + t * y) <= deep);
            return within ? t : none;
        });
        break;
    }
    case SPHERE:
    case ELLIPSOID: {  // a unit sphere in lengths of its half axes
        const float a = 1 / size[0], b = 1 / size[1], c = 1 / size[2];
        cast(g, tan_y, [&](Floats x, Floats y, Floats z) {
            Floats halfway;
            return round(ex * a, ey * b, ez * c, x * a, y * b, z * c, 1, halfway) - halfway;
        });
        break;
    }
    case CAPSULE:  // through its side, or else through the ball at the end where the side would be entered beyond it
        cast(g, tan_y, [&](Floats x, Floats y, Floats z) {
            Floats halfway;
            const Floats side = round(ex, ey, zero, x, y, zero, size[0], halfway) - halfway, along = ez + side * z;
            const Floats end = along > 0 ? size[1] : zero - size[1];
            const Floats ball = round(ex, ey, ez - end, x, y, z, size[0], halfway) - halfway;
            return size_of(along) <= size[1] ? side : ball;
        });
        break;
    case CYLINDER:
        cast(g, tan_y, [&](Floats x, Floats y, Floats z) {
            Floats halfway;
            const Floats middle = round(ex, ey, zero, x, y, zero, size[0], halfway);
            Floats enter = middle - halfway, leave = middle + halfway;
            slab(ez, z, size[1], enter, leave);
            return enter <= leave ? enter : none;
        });
        break;
    case BOX:
        cast(g, tan_y, [&](Floats x, Floats y, Floats z) {
            Floats enter = -1e30f, leave = 1e30f;
            slab(ex, x, size[0], enter, leave);
            slab(ey, y, size[1], enter, leave);
            slab(ez, z, size[2], enter, leave);
            return enter <= leave ? enter : none;
        });
        break;
    case HULL:
        find_hull(g, tan_y);
    }
};

// Outward normal of a geom's surface at points p of it, not normalised where it is round.
auto normal = [&](const Geom& g, const Floats* p, Floats* n) {
    const float* size = g.size;
    n[0] = p[0], n[1] = p[1], n[2] = p[2];
    Floats deepest = -1e30f;
    switch (g.type) {
    case PLANE:
        n[0] = n[1] = 0, n[2] = 1;
        return;
    case ELLIPSOID:
        for (int i = 0; i < 3; i++)
            n[i] = p[i] / (size[i] * size[i]);
        break;
    case CAPSULE:
        n[2] = p[2] - most(least(p[2], size[1]), -size[1]);
        break;
    case CYLINDER: {
        const Ints flat = size_of(p[2]) - size[1] > root(p[0] * p[0] + p[1] * p[1]) - size[0];
        n[0] = flat ? 0 : p[0], n[1] = flat ? 0 : p[1], n[2] = flat ? p[2] : 0;
        break;
    }
    case BOX: {
        const Floats x = size_of(p[0]) - size[0], y = size_of(p[1]) - size[1], z = size_of(p[2]) - size[2];
        const Ints on_x = (x >= y) & (x >= z), on_y = ~on_x & (y >= z);
        n[0] = on_x ? p[0] : 0, n[1] = on_y ? p[1] : 0, n[2] = on_x | on_y ? 0 : p[2];
        break;
    }
    case HULL:
        for (int i = scene.hull_start.data[g.mesh]; i < scene.hull_start.data[g.mesh + 1]; i++) {
            const float* plane = scene.planes.data + 4 * i;
            const Floats depth = plane[0] * p[0] + plane[1] * p[1] + plane[2] * p[2] - plane[3];
            const Ints deeper = depth > deepest;
            deepest = deeper ? depth : deepest;
            for (int axis = 0; axis < 3; axis++)
                n[axis] = deeper ? plane[axis] : n[axis];
        }
    }
    const Floats inverse = 1 / root(n[0] * n[0] + n[1] * n[1] + n[2] * n[2]);
    n[0] *= inverse, n[1] *= inverse, n[2] *= inverse;
};

// Multiplies what a box's texture shows at its points p into rgb, pixels that are not its own left alone.
auto paint = [&](const Geom& g, const Floats* p, const Floats* n, Ints mine, Floats* rgb) {
    const int texture = g.material >= 0 ? scene.mat_texture.data[g.material] : -1;
    if (texture < 0)
        return;
    const float* repeat = scene.mat_texrepeat.data + 2 * g.material;
    const bool uniform = scene.mat_texuniform.data[g.material];
    const int wide = scene.tex_width.data[texture], tall = scene.tex_height.data[texture];
    const Ints on_x = n[0] != 0, on_z = n[2] != 0;
    const Floats x = p[0] / g.size[0], y = p[1] / g.size[1], z = p[2] / g.size[2];
    const Floats right = on_z ? x : on_x ? (n[0] > 0 ? y : -y) : (n[1] < 0 ? x : -x);
    const Floats down = on_z ? (n[2] > 0 ? -y : y) : -z;
    Floats u = (right + 1) / 2 * repeat[0] * (uniform ? g.size[0] : 1);
    Floats v = (down + 1) / 2 * repeat[1] * (uniform ? g.size[1] : 1);
    // One texel, or in a film the mean of four, weighted by where the point lies among their middles.
    const float shift = scene.smooth ? 0.5f : 0;
    u = (u - __builtin_elementwise_floor(u)) * wide - shift, v = (v - __builtin_elementwise_floor(v)) * tall - shift;
    const Floats left = __builtin_elementwise_floor(u), top = __builtin_elementwise_floor(v);
    const Floats across = scene.smooth ? u - left : 0, along = scene.smooth ? v - top : 0;
    auto within = [](int at, int count) { return at < 0 ? 0 : at < count ? at : count - 1; };
    for (int i = 0; i < LANES; i++) {
        float sum[3] = {0, 0, 0};
        for (int tap = 0; mine[i] && tap < (scene.smooth ? 4 : 1); tap++) {
            const int column = within((int)left[i] + tap % 2, wide), row = within((int)top[i] + tap / 2, tall);
            const float share = (tap % 2 ? across[i] : 1 - across[i]) * (tap / 2 ? along[i] : 1 - along[i]);
            const unsigned char* texel = scene.texels.data + scene.tex_start.data[texture] + 3 * (row * wide + column);
            for (int c = 0; c < 3; c++)
                sum[c] += share * (texel[c] / 255.0f);
        }
        for (int c = 0; c < 3; c++)
            rgb[c][i] *= sum[c];
    }
};

// Colours of the pixels that show a geom: its own times the light that falls on it.
auto shade = [&](const Geom& g, float tan_y) {
    float toward[9][3];  // each light, in the geom's frame; the last one is the camera's own
    const double* turn = shot.geom_xmat.data + 9 * (world * scene.geoms + g.id);
    for (int l = 0; l < scene.lights; l++) {
        const double* away = shot.light_xdir.data + 3 * (world * scene.lights + l);
        for (int i = 0; i < 3; i++)
            toward[l][i] = -(float)(turn[i] * away[0] + turn[3 + i] * away[1] + turn[6 + i] * away[2]);
    }
    for (int i = 0; i < 3; i++)
        toward[scene.lights][i] = -g.ray[2][i];
    sweep(g, tan_y, [&](int at, Floats x, Floats y, Floats z) {
        const Ints mine = *(Ints*)(owner + at) == g.id;
        if (!__builtin_reduce_or(mine))
            return;
        const Floats t = *(Floats*)(depth + at), p[3] = {g.eye[0] + t * x, g.eye[1] + t * y, g.eye[2] + t * z};
        Floats n[3], rgb[3], light[3];
        for (int c = 0; c < 3; c++)
            rgb[c] = g.rgb[c], light[c] = scene.ambient[c];
        normal(g, p, n);
        paint(g, p, n, mine, rgb);
        for (int l = 0; l <= scene.lights; l++) {
            const float* diffuse = scene.light_diffuse.data + 3 * (world * scene.lights + l);
            const Floats cosine = most(n[0] * toward[l][0] + n[1] * toward[l][1] + n[2] * toward[l][2], 0);
            for (int c = 0; c < 3; c++)
                light[c] += (l < scene.lights ? diffuse[c] : scene.headlight[c]) * cosine;
        }
        Ints packed = 0;
        for (int c = 0; c < 3; c++)
            packed |= __builtin_convertvector(most(least(rgb[c] * light[c], 1), 0) * 255, Ints) << (8 * c);
        Ints& pixel = *(Ints*)(colour + at);
        pixel = mine ? packed : pixel;
    });
};

// Copies a vector of one row to an image, without what stands beyond the image's edge.
auto store = [&](auto* image, int row, int column, auto values) {
    auto* to = image + row * width + column;
    if (column + LANES <= width)
        __builtin_memcpy(to, &values, sizeof values);
    else
        for (int i = 0; column + i < width; i++)
            to[i] = values[i];
};

for (int eye = 0; eye < shot.eyes; eye++) {
    const int camera = scene.eyes.data[eye], area = width * height;
    const float tan_y = scene.tan_y.data[eye], tan_x = tan_y * width / height;
    for (int column = 0; column < stride; column++)
        across[column] = tan_x * ((2 * column + 1) / (float)width - 1);
    for (int at = 0; at < stride * height; at++)
        depth[at] = scene.farthest, owner[at] = -1, colour[at] = scene.background;
    int count = 0;
    for (int i = 0; i < scene.shown.shape[0]; i++) {
        geoms[count].id = scene.shown.data[i], geoms[count].type = scene.geom_type.data[geoms[count].id];
        if (approach(geoms[count], camera) && frame(geoms[count], tan_x, tan_y))
            find(geoms[count++], tan_y);
    }
    if (shot.stereo.data)
        for (int i = 0; i < count; i++)
            shade(geoms[i], tan_y);
    const Ints lane = {0, 1, 2, 3, 4, 5, 6, 7};
    int seen = 0;
    for (int row = 0; row < height; row++)
        for (int column = 0; column < width; column += LANES) {
            const int at = row * stride + column;
            const Ints whose = *(Ints*)(owner + at), pixel = *(Ints*)(colour + at);
            const Ints object = (whose >= scene.object_first) & (whose <= scene.object_last) & (lane < width - column);
            seen -= __builtin_reduce_add(object);
            if (eye == 0) {
                store((unsigned char*)shot.object_mask.data + world * area, row, column,
                      __builtin_convertvector(object & 1, Bytes));
                if (shot.depth.data)
                    store(shot.depth.data + world * area, row, column, whose >= 0 ? *(Floats*)(depth + at) : 0);
            }
            for (int c = 0; c < 3 && shot.stereo.data; c++)
                store(shot.stereo.data + (3 * (world * shot.eyes + eye) + c) * area, row, column,
                      __builtin_convertvector((pixel >> (8 * c)) & 255, Bytes));
        }
    shot.object_pixels.data[world * shot.eyes + eye] = seen;
}
