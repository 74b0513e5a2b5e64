"""The measured filter on pymilter, which wraps libmilter: counts header fields (but not its own
of earlier hops) and bytes of the body, and adds "X-Seen: HEADERS BYTES".

    python3 seen_filter.py inet:20025@127.0.0.1
"""

import sys

import Milter
import milter


class SeenFilter(Milter.Base):
    def proceed(self, *arguments):
        return Milter.CONTINUE

    connect = hello = envrcpt = data = unknown = eoh = proceed

    def envfrom(self, sender, *parameters):
        self.headers = 0
        self.bytes = 0
        return Milter.CONTINUE

    def header(self, name, value):
        if name.lower() != "x-seen":
            self.headers += 1
        return Milter.CONTINUE

    def body(self, data):
        self.bytes += len(data)
        return Milter.CONTINUE

    def eom(self):
        self.addheader("X-Seen", f"{self.headers} {self.bytes}")
        return Milter.CONTINUE


if __name__ == "__main__":
    Milter.factory = SeenFilter
    Milter.set_flags(Milter.ADDHDRS)
    milter.setbacklog(1024)
    Milter.runmilter("seen", sys.argv[1])
