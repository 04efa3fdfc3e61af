"""Weights and pictures out of a seed, the same bits on every machine.

Neither torch's nor numpy's random numbers, which change between versions, but splitmix64:

    key    = fnv1a64(name) XOR mix(seed + GOLDEN)
    u64[i] = mix(key + (i + 1) * GOLDEN)           i: flat row-major index; all modulo 2**64
    s[i]   = the four 16-bit lanes of u64[i] added up, - 131070
    w[i]   = f32(mean + s[i] * (std / SIGMA))      in f64, rounded once
    SIGMA  = sqrt((65536**2 - 1) / 3)              the standard deviation of s

Four uniform numbers added up are nearly normal (Irwin-Hall); none is beyond 3.47 std.
`name` is the tensor's name in the Hub's layout.
"""

import math

import numpy as np

GOLDEN = 0x9E3779B97F4A7C15
MASK = (1 << 64) - 1
SIGMA = math.sqrt((65536**2 - 1) / 3)


def fnv1a64(text: str) -> int:
    value = 0xCBF29CE484222325
    for byte in text.encode():
        value = ((value ^ byte) * 0x100000001B3) & MASK
    return value


def _mix_int(z: int) -> int:
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
    return z ^ (z >> 31)


def _mix(z: np.ndarray) -> np.ndarray:
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def _u64(seed: int, name: str, count: int) -> np.ndarray:
    key = fnv1a64(name) ^ _mix_int((seed + GOLDEN) & MASK)
    index = np.arange(1, count + 1, dtype=np.uint64)
    with np.errstate(over="ignore"):
        return _mix(np.uint64(key) + index * np.uint64(GOLDEN))


def normal(seed: int, name: str, shape, mean: float, std: float) -> np.ndarray:
    """f32 of the given shape."""
    z = _u64(seed, name, int(np.prod(shape)))
    lane = np.uint64(0xFFFF)
    total = z & lane
    for shift in (16, 32, 48):
        total = total + ((z >> np.uint64(shift)) & lane)
    values = mean + (total.astype(np.float64) - 131070.0) * (std / SIGMA)
    return values.astype(np.float32).reshape(shape)


def picture(seed: int, name: str, height: int, width: int, channels: int = 3) -> np.ndarray:
    """u8 [height, width, channels]: gradients, a disc, three rectangles, 12 % noise."""
    random = _u64(seed, "img/" + name, height * width * channels + 64)
    random = (random >> np.uint64(56)).astype(np.float64)
    p, noise = random[:64] / 255.0, random[64:].reshape(height, width, channels)
    y, x = np.mgrid[0:height, 0:width].astype(np.float64)
    y, x = (y + 0.5) / height, (x + 0.5) / width
    out = np.zeros((height, width, channels))
    for c in range(channels):
        a, b, d = p[c * 3 : c * 3 + 3]
        across = 0.5 * (2 * a - 1) * (2 * x - 1)
        down = 0.5 * (2 * b - 1) * (2 * y - 1) * d
        out[..., c] = 255 * (0.5 + across + down)
    center_y, center_x, radius = 0.25 + 0.5 * p[20], 0.25 + 0.5 * p[21], 0.1 + 0.2 * p[22]
    disc = (y - center_y) ** 2 + (x - center_x) ** 2 < radius**2
    out[disc] = 255 * p[24 : 24 + channels]
    for k in range(3):
        y0, x0, h, w = p[30 + 4 * k : 34 + 4 * k] * [0.8, 0.8, 0.3, 0.3]
        inside = (y >= y0) & (y < y0 + h) & (x >= x0) & (x < x0 + w)
        out[inside] = 255 * p[44 + 4 * k : 44 + 4 * k + channels]
    return np.clip(np.rint(0.88 * out + 0.12 * noise), 0, 255).astype(np.uint8)
