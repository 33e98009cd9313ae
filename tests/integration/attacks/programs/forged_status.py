"""Answers every request for the status of a mount with a document of the caller's.

    forged_status.py SOCKET DOCUMENT
"""

import os
import socket
import sys

path, document = sys.argv[1:]
os.unlink(path)
with socket.socket(socket.AF_UNIX) as server:
    server.bind(path)
    server.listen()
    print("listening", flush=True)
    while True:
        client, _ = server.accept()
        client.sendall(document.encode())
        client.close()
