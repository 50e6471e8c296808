"""AWS's command line, loaded once: each command runs in a fork of a process that has imported it.

Its start takes a second, and a page has thirty commands. ``serve`` listens on a socket; ``ask`` hands over
words, folder, variables and standard streams, and ends with the command's exit code.
"""

import json
import os
import signal
import socket
import sys
import traceback

LARGEST_REQUEST = 1 << 17
IT_SETS = ("AWS_DATA_PATH",)  # when it is imported


def serve(path: str) -> None:
    import awscli.clidriver

    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for the forks
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as door:
        door.bind(path)
        door.listen()
        while True:
            asker, _ = door.accept()
            request, streams, _, _ = socket.recv_fds(asker, LARGEST_REQUEST, 3)
            if os.fork() == 0:
                _run(awscli.clidriver.main, asker, json.loads(request), streams)
            for descriptor in streams:
                os.close(descriptor)
            asker.close()


def _run(main, asker: socket.socket, request: dict, streams: list[int]) -> None:
    code = 255
    try:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        for number, descriptor in enumerate(streams):
            os.dup2(descriptor, number)
        os.chdir(request["folder"])
        kept = {name: os.environ[name] for name in IT_SETS}
        os.environ.clear()
        os.environ.update({**request["variables"], **kept})
        sys.argv = ["aws", *request["words"]]
        code = main()
    except SystemExit as end:  # of its parser
        code = end.code
    finally:
        if sys.exc_info()[1]:
            traceback.print_exc()
        sys.stdout.flush()
        sys.stderr.flush()
        asker.sendall(bytes([code]))
        os._exit(code)


def ask(path: str, words: list[str]) -> int:
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as server:
        server.connect(path)
        request = {"words": words, "folder": os.getcwd(), "variables": dict(os.environ)}
        socket.send_fds(server, [json.dumps(request).encode()], [0, 1, 2])
        return (server.recv(1) or b"\xff")[0]


if __name__ == "__main__":
    _, mode, socket_path, *rest = sys.argv
    sys.exit(serve(socket_path) if mode == "serve" else ask(socket_path, rest))
