"""CLIP weights by the names that Hugging Face ``transformers`` gives them, renamed to open_clip's.

Read are the state dicts of ``CLIPModel``, of ``CLIPVisionModelWithProjection`` and of ``CLIPVisionModel``, which has no
projection. Query, key and value of a block are one tensor in open_clip, and its projections are transposed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

from zsr_core.codec import ConfigError

IMAGE, TEXT = "vision_model.", "text_model."
# What marks a tower's own names, whatever stands before them.
MARKS = {IMAGE: "embeddings.patch_embedding.weight", TEXT: "embeddings.token_embedding.weight"}
IDLE = "embeddings.position_ids"

# Pattern of a name within a tower -> open_clip's name there. Both towers have the same blocks.
BLOCKS = (
    (r"encoder\.layers\.(\d+)\.layer_norm([12])\.(weight|bias)", r"transformer.resblocks.\1.ln_\2.\3"),
    (r"encoder\.layers\.(\d+)\.self_attn\.out_proj\.(weight|bias)", r"transformer.resblocks.\1.attn.out_proj.\2"),
    (r"encoder\.layers\.(\d+)\.mlp\.fc1\.(weight|bias)", r"transformer.resblocks.\1.mlp.c_fc.\2"),
    (r"encoder\.layers\.(\d+)\.mlp\.fc2\.(weight|bias)", r"transformer.resblocks.\1.mlp.c_proj.\2"),
    (r"embeddings\.position_embedding\.weight", "positional_embedding"),
)
NAMES = {
    IMAGE: (
        *BLOCKS,
        (r"embeddings\.class_embedding", "class_embedding"),
        (r"embeddings\.patch_embedding\.weight", "conv1.weight"),
        (r"pre_lay(?:er|r)norm\.(weight|bias)", r"ln_pre.\1"),
        (r"post_layernorm\.(weight|bias)", r"ln_post.\1"),
    ),
    TEXT: (
        *BLOCKS,
        (r"embeddings\.token_embedding\.weight", "token_embedding.weight"),
        (r"final_layer_norm\.(weight|bias)", r"ln_final.\1"),
    ),
}
# Query, key and value, in the order in which open_clip stacks them.
ATTENTION = re.compile(r"encoder\.layers\.(\d+)\.self_attn\.([qkv])_proj\.(weight|bias)")
PARTS = ("q", "k", "v")
# Beside the towers: name -> open_clip's name; the projections are transposed.
PROJECTIONS = {"visual_projection.weight": "visual.proj", "text_projection.weight": "text_projection"}


def in_open_clip_names(tensors: Mapping[str, Tensor], what: str) -> dict[str, Tensor] | None:
    """Return the tensors by open_clip's names, None where the names are not Hugging Face's.

    Names outside the towers stay, and so does whatever stands before a tower's names ("model.", "student.").

    Raises:
        ConfigError: beginning with ``what``, for a tower that is not CLIP's, or a block that lacks a part.
    """
    towers = {root: kind for kind, mark in MARKS.items() for root in _roots(tensors, mark)}
    if not towers:
        return None
    renamed: dict[str, Tensor] = {}
    stacked: dict[str, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        root = max((root for root in towers if name.startswith(root)), key=len, default=None)
        if root is None or _beside(name, towers):
            renamed[_projected(name)] = tensor.T if _projected(name) != name else tensor
            continue
        kind, own = towers[root], name.removeprefix(root)
        base = root.removesuffix(kind) + ("visual." if kind == IMAGE else "")
        if own == IDLE:
            continue
        attention = ATTENTION.fullmatch(own)
        if attention is not None:
            block, part, what_of = attention.groups()
            stacked.setdefault(f"{base}transformer.resblocks.{block}.attn.in_proj_{what_of}", {})[part] = tensor
            continue
        to = _renamed(own, NAMES[kind])
        if to is None:
            raise ConfigError(f"{what} has Hugging Face's names of another model than CLIP, first {name}")
        renamed[base + to] = tensor
    for name, parts in stacked.items():
        lacking = [part for part in PARTS if part not in parts]
        if lacking:
            raise ConfigError(f"{what} lacks {lacking[0]}_proj of the attention that open_clip calls {name}")
        renamed[name] = torch.cat([parts[part] for part in PARTS])
    return renamed


def _roots(tensors: Iterable[str], mark: str) -> list[str]:
    return [name.removesuffix(mark) for name in tensors if name == mark or name.endswith(f".{mark}")]


def _beside(name: str, towers: Mapping[str, str]) -> bool:
    """Whether the name is of what stands beside the towers, where a tower's own names have nothing before them."""
    return "" in towers and name.rpartition(".")[0] in ("visual_projection", "text_projection", "")


def _projected(name: str) -> str:
    """Return open_clip's name of a projection; any other name as it is."""
    for own, to in PROJECTIONS.items():
        if name == own or name.endswith(f".{own}"):
            return name.removesuffix(own) + to
    return name


def _renamed(own: str, table: Iterable[tuple[str, str]]) -> str | None:
    for pattern, to in table:
        match = re.fullmatch(pattern, own)
        if match is not None:
            return match.expand(to)
    return None
