"""VGGT in `d4rt benchmark model`: how long one pass takes, by its number of frames."""

from __future__ import annotations

import argparse

FRAMES = (8, 32, 100)
SIZE = 392, 518  # what 4:3 is brought to
MOST = 3  # passes of each number: one takes long


def table(model, what: str, args: argparse.Namespace, place: str):
    """model: a VGGTModel. A number of frames that does not fit into memory says so."""
    import numpy as np
    from rich.table import Table

    from d4rt_ros.evaluation.speed import median_seconds, parameters, peak_bytes, reset_peak
    from d4rt_ros.runtime import FrameError

    height, width = args.size or SIZE
    dtype = str(model.dtype).removeprefix("torch.")
    made = Table("frames", "encode, median", "rate", "memory: peak with weights", "said to need, without")
    made.title = f"d4rt benchmark model: {what}, frames of {width}x{height}, {dtype}\n{place}"
    for count in [args.frames] if args.frames else FRAMES:
        clip = np.random.default_rng(0).integers(0, 256, (count, height, width, 3), np.uint8)
        prepared = [model.prepare(frame) for frame in clip]
        need = f"{model.encode_bytes(clip[0], count) / 1e9:.2f} GB"
        reset_peak(model.device)
        try:
            took = median_seconds(lambda: model.encode(prepared), model.device, args.seconds, MOST)
        except FrameError as error:
            made.add_row(str(count), "", str(error).split(": ")[0], "", need)
            continue
        rate = f"{count / took:,.1f} frames/s"
        made.add_row(str(count), f"{took:.2f} s", rate, f"{peak_bytes(model.device) / 1e9:.2f} GB", need)
    made.add_section()
    held = sum(p.nbytes for p in model.network.parameters())
    made.add_row(
        "parameters", f"{parameters(model.network) / 1e6:,.1f} M", "", f"{held / 1e9:.2f} GB: weights"
    )
    return made


def random_model(device, precision: str):
    """A VGGT-1B of random weights, allocated once on the device."""
    import torch

    from d4rt_ros.model.vggt.checkpoint import empty_vggt, products
    from d4rt_ros.model.vggt.config import VGGT_1B
    from d4rt_ros.runtime.torch_model import chosen_dtype
    from d4rt_ros.runtime.vggt_model import VGGTModel

    network, dtype = empty_vggt(VGGT_1B), chosen_dtype(precision, device)
    lower = products(network)
    for name, p in network.named_parameters():
        p.data = p.data.to(dtype if name in lower else torch.float32)
    network.to_empty(device=device)
    torch.manual_seed(0)
    for module in network.modules():
        if hasattr(module, "reset_parameters"):
            module.reset_parameters()
    for name, p in network.named_parameters():
        if "token" in name or "pos_embed" in name or name.endswith("gamma"):
            torch.nn.init.normal_(p, std=0.02)
    return VGGTModel(network, device)
