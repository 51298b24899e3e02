"""Vectors of the real model: unit length, near for near meanings, the same alone and in company."""

import asyncio
import math

import pytest

from somagent.memory.embedder import MiniLmEmbedder


def cosine(a: tuple[float, ...], b: tuple[float, ...]) -> float:
    return sum(x * y for x, y in zip(a, b, strict=True))


@pytest.mark.parametrize(
    ("text", "paraphrase", "unrelated"),
    [
        ("The cat sat on the mat.", "A cat was sitting on a rug.", "Interest rates rose in March."),
        ("The server ran out of memory.", "The machine had no RAM left.", "She plays the violin on Sundays."),
        ("How do I reset my password?", "I forgot my login and need a new one.", "The train leaves at noon."),
    ],
)
async def test_a_paraphrase_is_nearer_than_an_unrelated_sentence(embedder: MiniLmEmbedder, text, paraphrase, unrelated):
    a, b, c = (await embedder.embed((text, paraphrase, unrelated))).vectors
    assert cosine(a, b) > cosine(a, c) + 0.2


async def test_every_vector_has_length_one(embedder: MiniLmEmbedder):
    texts = ("", "a", "naïve \N{SNOWMAN}", "word " * 2000, "x" * 8192)
    for vector in (await embedder.embed(texts)).vectors:
        assert len(vector) == embedder.dimensions
        assert math.isclose(cosine(vector, vector), 1.0, abs_tol=1e-5)


async def test_a_text_has_the_same_vector_alone_and_in_company(embedder: MiniLmEmbedder):
    texts = tuple(f"line {n} of the log " * (n % 7 + 1) for n in range(40))
    together = (await embedder.embed(texts)).vectors
    for n in (0, 6, 17, 39):
        [alone] = (await embedder.embed((texts[n],))).vectors
        assert cosine(alone, together[n]) > 0.9999


async def test_embedding_leaves_the_event_loop_free(embedder: MiniLmEmbedder):
    loop = asyncio.get_running_loop()
    task = asyncio.create_task(embedder.embed(("word " * 400,) * 32))
    turns = 0
    began = loop.time()
    while not task.done():
        await asyncio.sleep(0.005)
        turns += 1
    assert turns > (loop.time() - began) * 20
