"""D4RT as one module."""

from __future__ import annotations

from torch import Tensor, nn

from d4rt_ros.model.config import ModelConfig
from d4rt_ros.model.decoder import Decoder, KeysValues, interpolate_patches, sample_patches
from d4rt_ros.model.encoder import Encoder
from d4rt_ros.model.layers import initialise
from d4rt_ros.model.protocol import AttentionListener


class D4RT(nn.Module):
    """Encode a clip once, decode any number of queries against it."""

    def __init__(self, config: ModelConfig):
        super().__init__()
        self.config = config
        self.encoder = Encoder(config)
        self.decoder = Decoder(config)
        initialise(self, config.initialisation)
        # Small first answers: large ones would be unlearned at the cost of the features beneath them. Not zero
        # either: features then never hear from that head.
        initialise(self.decoder.heads, "normal")

    def encode(
        self,
        video: Tensor,
        aspect: Tensor,
        mask: Tensor | None = None,
        listener: AttentionListener | None = None,
    ) -> KeysValues:
        """video: (B, T, 3, H, W) RGB in [0, 1]; aspect: (B,) the original width / height.

        mask, listener: see Encoder.forward. Returns each decoder layer's keys and values of the scene.
        """
        return self.decoder.project(self.encoder(self._normalise(video), aspect, mask, listener))

    def decode(
        self,
        keys_values: KeysValues,
        frames: Tensor,
        uv: Tensor,
        times: Tensor,
        patch_uv: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """Answer queries. frames: (B, T, H, W, 3) for the RGB patches, uint8 or RGB in [0, 1], of any resolution.

        uv: (B, Q, 2) in [0, 1]; times: (B, Q, 3) as t_src, t_tgt, t_cam; patch_uv: (B, Q, 2), where the patches
        are in `frames`, if not at uv: pixel x is u·(W-1). Returns raw head outputs (B, Q, ·).
        """
        patches = None
        if self.config.rgb_patch:
            place = uv if patch_uv is None else patch_uv
            patches = self._normalise(sample_patches(frames, place, times[..., 0], self.config.rgb_patch))
        return self.decoder(keys_values, uv, times, patches)

    def decode_pixels(
        self, keys_values: KeysValues, pixels: Tensor, fraction: Tensor, uv: Tensor, times: Tensor
    ) -> dict[str, Tensor]:
        """`decode` for pixels that are already gathered; see `interpolate_patches` for them."""
        patches = None
        if self.config.rgb_patch:
            patches = self._normalise(interpolate_patches(pixels, fraction))
        return self.decoder(keys_values, uv, times, patches)

    def _normalise(self, rgb: Tensor) -> Tensor:
        c = self.config
        return rgb if (c.pixel_mean, c.pixel_std) == (0.0, 1.0) else (rgb - c.pixel_mean) / c.pixel_std
