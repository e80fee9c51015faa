"""A way to a server that can be cut."""
import socket
import struct
import threading


class CuttableProxy:
    """Passes bytes between a port of its own and a server's, until `cut` resets all that is open."""

    def __init__(self, host, port):
        self.target = (host, port)
        self.sockets, self.lock = set(), threading.Lock()
        self.is_open = True
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}"
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            if not self.is_open:
                self.reset(client)
                continue
            server = socket.create_connection(self.target)
            with self.lock:
                self.sockets |= {client, server}
            for pair in ((client, server), (server, client)):
                threading.Thread(target=self.copy, args=pair, daemon=True).start()

    def copy(self, source, sink):
        try:
            while data := source.recv(65536):
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)
        except OSError:
            pass
        finally:
            with self.lock:
                self.sockets.discard(source)

    @staticmethod
    def reset(one):
        try:
            one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            one.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        one.close()

    def cut(self):
        """From now on nothing goes through."""
        self.is_open = False
        with self.lock:
            every, self.sockets = self.sockets, set()
        for one in every:
            self.reset(one)

    def mend(self):
        self.is_open = True

    def close(self):
        self.listener.close()
        self.cut()
