"""Hosts of our own on one machine: network namespaces, joined by cables that can be cut. Needs root."""
import os
import subprocess


def run(*command):
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


class Hosts:
    """A server's host and some workers' hosts, all on the server's network; this process reaches the server.

    Use it as a context; `why_not` says why there can be none here.
    """

    def __init__(self, workers):
        self.prefix = f"dv{os.getpid() % 100_000}"
        self.names = [f"{self.prefix}s", *(f"{self.prefix}w{index}" for index in range(workers))]
        self.server_address = "10.214.0.2"

    def __enter__(self):
        try:
            for name in self.names:
                run("ip", "netns", "add", name)
                run(*self.inside(name), "ip", "link", "set", "lo", "up")
            server = self.names[0]
            run("ip", "link", "add", self.prefix, "type", "veth", "peer", "name", "way", "netns", server)
            run("ip", "address", "add", "10.214.0.1/24", "dev", self.prefix)
            run("ip", "link", "set", self.prefix, "up")
            run(*self.inside(server), "ip", "address", "add", f"{self.server_address}/24", "dev", "way")
            run(*self.inside(server), "ip", "link", "set", "way", "up")
            # Workers reach each other through the server's host.
            run(*self.inside(server), "sysctl", "-qw", "net.ipv4.ip_forward=1")
            for index, name in enumerate(self.names[1:]):
                cable, net = f"c{index}", f"10.214.{index + 1}"
                run(*self.inside(server), "ip", "link", "add", cable, "type", "veth", "peer", "name", "cable", "netns",
                    name)
                for host, device, address in ((server, cable, f"{net}.1"), (name, "cable", f"{net}.2")):
                    run(*self.inside(host), "ip", "address", "add", f"{address}/24", "dev", device)
                    run(*self.inside(host), "ip", "link", "set", device, "up")
                run(*self.inside(name), "ip", "route", "add", "default", "via", f"{net}.1")
        except (OSError, subprocess.CalledProcessError):
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        for name in self.names:
            subprocess.run(["ip", "netns", "delete", name], check=False, capture_output=True)
        subprocess.run(["ip", "link", "delete", self.prefix], check=False, capture_output=True)

    @staticmethod
    def inside(name):
        """What to put in front of a command to run it on that host."""
        return ["ip", "netns", "exec", name]

    def server(self):
        return self.inside(self.names[0])

    def worker(self, index):
        return self.inside(self.names[index + 1])

    def ends(self, index):
        """For both ends of a worker's cable: how to act there, the device, and the address at the other end."""
        net = f"10.214.{index + 1}"
        return (self.server(), f"c{index}", f"{net}.2"), (self.worker(index), "cable", f"{net}.1")

    def cut(self, index):
        """From now on every packet from and to that worker vanishes without a word: it goes to a station of no one."""
        for host, device, other in self.ends(index):
            run(*host, "ip", "neigh", "replace", other, "lladdr", "02:00:00:00:00:01", "nud", "permanent", "dev",
                device)

    def mend(self, index):
        for host, device, other in self.ends(index):
            run(*host, "ip", "neigh", "del", other, "dev", device)

    @staticmethod
    def why_not():
        """Why there can be no such hosts here; None if there can."""
        try:
            with Hosts(1):
                return None
        except FileNotFoundError as error:
            return str(error)
        except subprocess.CalledProcessError as error:
            return f"{' '.join(error.cmd)}: {error.stderr.strip()}"
