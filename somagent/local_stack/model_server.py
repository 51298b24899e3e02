"""The small language model of the local stack: llama.cpp's own server in our process around it."""

import sys

from somagent.local_stack.environment import theirs
from somagent.local_stack.health import answers_http
from somagent.local_stack.part import Listening, Part
from somagent.local_stack.wheels import language_model
from somagent.settings import Settings

PARALLEL = 2
CONTEXT = 8192  # tokens for all slots together


def slm(settings: Settings) -> Part:
    base = f"http://{settings.host}:{settings.slm_port}"
    return Part(
        name="slm",
        command=(
            *(sys.executable, "-P", "-m", "somagent.local_stack.llama_server"),
            *("--model", str(language_model())),
            *("--alias", settings.slm_model),
            *("--host", settings.host),
            *("--port", str(settings.slm_port)),
            *("--parallel", str(PARALLEL)),
            *("--context", str(CONTEXT)),
        ),
        env=theirs(),
        health=answers_http(f"{base}/health"),
        listens=(Listening(setting="SOMAGENT_SLM_PORT", port=settings.slm_port),),
        address=f"{base}/v1",
        stop_seconds=5,
    )
