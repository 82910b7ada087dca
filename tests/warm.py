"""A `python` that has its libraries imported already, for the many commands of the pages.

Importing torch takes longer than most of these commands, once they are shortened.  So one process
imports the libraries and waits, and each command is a fork of it, with the arguments, the
environment, the folder and the three streams of whoever asked.  The project's own modules are
imported by each command anew.

    python tests/warm.py serve SOCKET     imports, and waits for commands at that socket
    python tests/warm.py SOCKET WORD ...  asks it for `python WORD ...` and ends as that does
"""

import gc
import importlib
import json
import os
import runpy
import socket
import sys
import traceback

LIBRARIES = (
    "torch", "torch._dynamo", "torch.distributed.fsdp", "transformers", "pytest",
    "matplotlib.pyplot", "matplotlib.backends.backend_agg",
)  # fmt: skip


def ask(address: str, words: list[str]) -> int:
    """Have the waiting process run `python words...`, and return its exit code."""
    request = json.dumps([words, os.getcwd(), dict(os.environ)]).encode()
    with socket.socket(socket.AF_UNIX) as server:
        server.connect(address)
        socket.send_fds(server, [len(request).to_bytes(8, "big")], [0, 1, 2])
        server.sendall(request)
        return int(server.makefile().read() or 1)


def serve(address: str) -> None:
    """Import what takes long, and run one command after another until the parent has ended."""
    for name in LIBRARIES:
        importlib.import_module(name)
    for name in ("AutoModelForCausalLM", "AutoTokenizer"):  # imported when they are first asked for
        getattr(sys.modules["transformers"], name)
    gc.freeze()  # else every fork walks through all of it when it ends, which takes a second
    parent = os.getppid()
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(address)
        server.listen()
        print("ready", flush=True)
        server.settimeout(10)
        while os.getppid() == parent:
            try:
                client, _ = server.accept()
            except TimeoutError:
                continue
            with client:
                size, streams, _, _ = socket.recv_fds(client, 8, 3)
                request = json.loads(client.makefile().read(int.from_bytes(size, "big")))
                child = os.fork()
                if not child:
                    client.close()
                    server.close()
                    become(streams, *request)
                for stream in streams:
                    os.close(stream)
                _, status = os.waitpid(child, 0)
                client.sendall(str(os.waitstatus_to_exitcode(status) % 256).encode())


def become(streams: list[int], words: list[str], folder: str, environment: dict) -> None:
    """Be `python words...` in this process, and end as it ends."""
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    sys.stdin, sys.stdout = os.fdopen(0, closefd=False), os.fdopen(1, "w", closefd=False)
    sys.stderr = os.fdopen(2, "w", buffering=1, errors="backslashreplace", closefd=False)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    kind, rest = words[0], words[1:]
    sys.argv = rest if kind == "-m" else ["-c", *rest[1:]] if kind == "-c" else words
    places = {"-m": folder, "-c": "", "-": ""}
    sys.path[0] = places.get(kind, os.path.dirname(os.path.abspath(kind)))
    try:
        if kind == "-m":
            runpy.run_module(rest[0], run_name="__main__", alter_sys=True)
        elif kind in places:
            exec(sys.stdin.read() if kind == "-" else rest[0], {"__name__": "__main__"})
        else:
            runpy.run_path(kind, run_name="__main__")
    except SystemExit:
        raise  # and Python ends as it always does
    except BaseException:
        traceback.print_exc()
        sys.exit(1)
    sys.exit()


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        serve(sys.argv[2])
    else:
        sys.exit(ask(sys.argv[1], sys.argv[2:]))
