"""Process that serves a GGUF model with llama.cpp: /health, /metrics and the OpenAI-compatible /v1."""

import argparse
import os
import signal

import xllamacpp


def main() -> None:
    """Serve until SIGTERM or SIGINT."""
    options = _options()
    parameters = xllamacpp.CommonParams()
    parameters.model.path = options.model
    parameters.model_alias = {options.alias}
    parameters.hostnames = [options.host]
    parameters.port = options.port
    parameters.n_parallel = options.parallel
    parameters.n_ctx = options.context
    parameters.cpuparams.n_threads = options.threads
    parameters.endpoint_metrics = True
    parameters.ui = False
    server = xllamacpp.Server(parameters)
    # The server works in its own threads. The supervisor sees on the port when the model is loaded.
    signal.sigwait({signal.SIGTERM, signal.SIGINT})
    # os._exit skips the interpreter's teardown, in which the destructor would wait for open requests.
    del server
    os._exit(0)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="somagent.local_stack.llama_server", description=__doc__)
    parser.add_argument("--model", required=True)
    parser.add_argument("--alias", required=True)
    parser.add_argument("--host", required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--parallel", type=int, default=2)
    parser.add_argument("--context", type=int, default=8192)
    # One core is left to other processes: llama.cpp's threads wait for each other by spinning, and fall from a hundred
    # tokens a second to two when they share every core with a busy stack.
    parser.add_argument("--threads", type=int, default=max(1, (os.cpu_count() or 2) - 1))
    return parser.parse_args()


if __name__ == "__main__":
    main()
