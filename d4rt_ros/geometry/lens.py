"""What a lens bends, straightened: raw images and pixels to those of a pinhole camera, and back."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.polynomial import Polynomial

from d4rt_ros.geometry.camera import Pinhole

NEARLY_SIDEWAYS = np.deg2rad(89.9)  # no pinhole camera sees farther from its axis
TABLE = 4096  # angles at which the lens is inverted, before Newton's method makes it exact
STEPS = 12  # of Newton's method, at most; it needs two or three
EXACT = 1e-3  # pixels: what a way there and back may miss
OUTSIDE = -2.0  # where no pixel is, not even half of one
APART = 8  # pixels between those whose way to the view is computed: a lens bends evenly in between


@dataclass(frozen=True, eq=False)
class Lens:
    """A raw image of a camera, and `camera`'s rectified view of the same size.

    matrix: (3, 3) K of the raw image. distortion: k1 k2 p1 p2 [k3 [k4 k5 k6 [s1 s2 s3 s4 [tx ty]]]], or k1 k2 k3 k4
    of a `fisheye`, both as OpenCV defines them. rotation: (3, 3) R, view_from_raw. What is computed once (maps) is
    cached; nothing changes, so that any thread may use it.
    """

    matrix: np.ndarray
    distortion: tuple[float, ...]
    fisheye: bool
    rotation: np.ndarray
    camera: Pinhole

    def to_view(self, pixels) -> np.ndarray:
        """Pixels (..., 2) of the view, of pixels (..., 2) of the raw image; NaN where the view has none."""
        pixels = np.asarray(pixels, np.float64)
        rays = self.rays(pixels.reshape(-1, 2)) @ self.rotation.T
        return self.camera.project(rays).reshape(pixels.shape)

    def to_image(self, pixels) -> np.ndarray:
        """Pixels (..., 2) of the raw image, of pixels (..., 2) of the view; NaN beyond what the lens can bend."""
        pixels = np.asarray(pixels, np.float64)
        rays = self.camera.backproject(pixels.reshape(-1, 2), 1.0) @ self.rotation
        return self._bent(rays).reshape(pixels.shape)

    def rectify(self, image: np.ndarray) -> np.ndarray:
        """The view of a raw image (H, W[, C]); black where `valid` is False."""
        import cv2

        return cv2.remap(image, *self._fast_maps, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)

    def rectify_depth(self, depth: np.ndarray) -> np.ndarray:
        """The view's depth (H, W) float32 of a raw image's; not mixed over edges, NaN outside."""
        import cv2

        # Not by the fast maps: OpenCV 5.0 takes other pixels than the nearest with these.
        x, y, _ = self._float_maps
        outside = dict(borderMode=cv2.BORDER_CONSTANT, borderValue=float("nan"))
        view = cv2.remap(depth, x, y, cv2.INTER_NEAREST, **outside)
        if np.allclose(self.rotation, np.eye(3)):
            return view
        return view / self._grid_rays()[..., 2]  # along the view's optical axis, which R turned

    def unrectify(self, mask: np.ndarray) -> np.ndarray:
        """A mask (H, W) bool of the view as one of the raw image; False where the view has no such pixel."""
        import cv2

        outside = dict(borderMode=cv2.BORDER_CONSTANT, borderValue=0)
        return cv2.remap(mask.astype(np.uint8), *self._raw_maps, cv2.INTER_NEAREST, **outside) > 0

    @cached_property
    def valid(self) -> np.ndarray | None:
        """(H, W) bool: which pixels of the view the raw image fills; None where it fills all."""
        valid = self._float_maps[2]
        return None if valid.all() else valid

    @cached_property
    def limit(self) -> float:
        """The angle from the axis, radians, up to which what is farther out is imaged farther out.

        Beyond it the polynomials fold the image over, which no lens does. pi/2 or more: nowhere.
        """
        k = self._coefficients
        if self.fisheye:
            return _root(Polynomial([1, 3 * k[0], 5 * k[1], 7 * k[2], 9 * k[3]]), np.pi)
        above, below = Polynomial([1, *k[[0, 1, 4]]]), Polynomial([1, *k[5:8]])
        squared = Polynomial([0, 1])
        slope = above * below + 2 * squared * (above.deriv() * below - above * below.deriv())
        return float(np.arctan(min(_root(slope, np.inf), _root(below, np.inf))))

    def rays(self, pixels: np.ndarray) -> np.ndarray:
        """Rays (N, 3) with z = 1 in the raw camera's frame, of its pixels (N, 2); NaN where there is none."""
        sides = (pixels - self.matrix[:2, 2]) / np.diag(self.matrix)[:2]
        bent = np.hypot(*sides.T)
        angles, radii = self._table
        angle = np.interp(bent, radii, angles, right=np.nan)
        if self.fisheye:
            powers = np.array([1, 3, 5, 7, 9])
            terms = np.concatenate([[1.0], self._coefficients[:4]])
            step = angles[1]  # no farther, where next to the limit nothing changes any more
            for _ in range(3):
                slope = np.sum(powers * terms * angle[:, None] ** (powers - 1), axis=1)
                angle = angle + np.clip((bent - self._radial(angle)) / slope, -step, step)
        scale = np.where(bent > 0, np.tan(angle) / np.where(bent > 0, bent, 1), 1.0)
        rays = np.column_stack([sides * scale[:, None], np.ones(len(sides))])
        rays[np.isnan(rays).any(axis=1)] = np.nan
        return rays if self.fisheye else self._exact(pixels, rays)

    def _exact(self, pixels: np.ndarray, rays: np.ndarray) -> np.ndarray:
        """Newton's method from the rays of the radial part alone."""
        known = np.isfinite(rays).all(axis=1)
        found, target = rays[known], pixels[known]
        good = np.zeros(len(found), bool)
        with np.errstate(all="ignore"):
            for _ in range(STEPS if len(found) else 0):
                there, slopes = self._projected(found)
                (a, b), (c, d) = slopes.transpose(1, 2, 0)
                det, (x, y) = a * d - b * c, (target - there).T
                good = (np.hypot(x, y) < EXACT) & (det > 0) & self._bendable(found)
                if np.hypot(x, y)[good].max(initial=0) < 1e-9 and good.all():
                    break
                step = np.column_stack([d * x - b * y, a * y - c * x]) / det[:, None]
                found[:, :2] += np.where(np.isfinite(step), step, 0)
        rays = np.full_like(rays, np.nan)
        rays[np.flatnonzero(known)[good]] = found[good]
        return rays

    def _bent(self, rays: np.ndarray) -> np.ndarray:
        """Raw pixels (N, 2) of rays (N, 3) in the raw camera's frame."""
        pixels, good = np.full((len(rays), 2), np.nan), self._bendable(rays)
        sides = rays[good, :2] / rays[good, 2:]
        if not len(sides):
            return pixels
        if self.fisheye:
            r = np.hypot(*sides.T)
            scale = np.where(r > 0, self._radial(np.arctan(r)) / np.where(r > 0, r, 1), 1.0)
            pixels[good] = sides * scale[:, None] * np.diag(self.matrix)[:2] + self.matrix[:2, 2]
        else:
            pixels[good] = self._projected(np.column_stack([sides, np.ones(len(sides))]))[0]
        return pixels

    def _projected(self, rays: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Raw pixels (N, 2) of rays with z = 1, and their change (N, 2, 2) with the rays' x and y."""
        import cv2

        still = np.zeros(3)
        pixels, slopes = cv2.projectPoints(
            rays[:, None], still, still, self.matrix, np.array(self.distortion)
        )
        return pixels[:, 0], slopes[:, 3:5].reshape(-1, 2, 2)  # moving the point by x, y moves the ray by it

    def _bendable(self, rays: np.ndarray) -> np.ndarray:
        """Which rays (..., 3) of the raw camera's frame the lens can bend, (...) bool."""
        most = min(self.limit, NEARLY_SIDEWAYS)
        with np.errstate(invalid="ignore"):
            return (rays[..., 2] > 0) & (np.hypot(rays[..., 0], rays[..., 1]) < np.tan(most) * rays[..., 2])

    def _radial(self, angle: np.ndarray) -> np.ndarray:
        """The distance from the raw image's centre, in focal lengths, at an angle from the axis."""
        k = self._coefficients
        if self.fisheye:
            return angle * Polynomial([1, *k[:4]])(angle**2)
        r = np.tan(angle)
        with np.errstate(divide="ignore"):  # at the limit
            return r * Polynomial([1, *k[[0, 1, 4]]])(r**2) / Polynomial([1, *k[5:8]])(r**2)

    @cached_property
    def _coefficients(self) -> np.ndarray:
        return np.concatenate([self.distortion, np.zeros(14 - len(self.distortion))])

    @cached_property
    def _table(self) -> tuple[np.ndarray, np.ndarray]:
        """Angles, and how far from the centre they are seen; both grow."""
        angles = np.linspace(0, min(self.limit, NEARLY_SIDEWAYS), TABLE)
        radii = self._radial(angles)
        falls = np.flatnonzero(~(np.diff(radii) > 0))  # at the very end rounding may have its way
        growing = falls[0] + 1 if len(falls) else TABLE
        return angles[:growing], radii[:growing]

    def _grid_rays(self) -> np.ndarray:
        """(H, W, 3) rays of the view's pixels in the raw camera's frame."""
        ones = np.ones((self.camera.height, self.camera.width), np.float32)
        return self.camera.backproject_map(ones) @ self.rotation.astype(np.float32)

    @cached_property
    def _float_maps(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Raw pixels x and y, each (H, W) float32, of the view's, OUTSIDE where there are none; and where there are."""
        import cv2

        size = width, height = self.camera.width, self.camera.height
        make = cv2.fisheye.initUndistortRectifyMap if self.fisheye else cv2.initUndistortRectifyMap
        distortion = np.array(self.distortion)
        x, y = make(self.matrix, distortion, self.rotation, self.camera.matrix, size, cv2.CV_32FC1)
        valid = (x >= -0.5) & (x <= width - 0.5) & (y >= -0.5) & (y <= height - 0.5)
        # What the polynomials fold back into the image is not what the camera sees there.
        valid &= self._bendable(self._grid_rays())
        x[~valid] = y[~valid] = OUTSIDE
        valid.flags.writeable = False
        return x, y, valid

    @cached_property
    def _raw_maps(self) -> tuple[np.ndarray, np.ndarray]:
        """View pixels x and y, each (H, W) float32, of the raw image's, OUTSIDE where there are none."""
        import cv2

        width, height = self.camera.width, self.camera.height
        across, down = (-(-(side - 1) // APART) + 1 for side in (width, height))
        u, v = np.linspace(0, width - 1, across), np.linspace(0, height - 1, down)
        few = self.to_view(np.stack(np.meshgrid(u, v), axis=-1)).astype(np.float32)
        at = np.meshgrid(
            np.linspace(0, across - 1, width, dtype=np.float32),
            np.linspace(0, down - 1, height, dtype=np.float32),
        )
        replicated = dict(borderMode=cv2.BORDER_REPLICATE)
        x, y = (cv2.remap(few[..., i], *at, cv2.INTER_LINEAR, **replicated) for i in (0, 1))
        known = np.isfinite(x) & np.isfinite(y)
        x[~known] = y[~known] = OUTSIDE
        return x, y

    @cached_property
    def _fast_maps(self) -> tuple[np.ndarray, np.ndarray]:
        """The same in cv2.remap's fixed-point numbers, with which it is several times as fast."""
        import cv2

        return cv2.convertMaps(*self._float_maps[:2], cv2.CV_16SC2)


def _root(polynomial: Polynomial, otherwise: float) -> float:
    """The square root of a polynomial's smallest positive root, or `otherwise`."""
    roots = polynomial.trim(1e-12).roots()  # smaller ones bend nothing, and would overflow
    real = roots.real[(np.abs(roots.imag) < 1e-9 * np.abs(roots)) & (roots.real > 0)]
    return float(np.sqrt(real.min())) if len(real) else otherwise
