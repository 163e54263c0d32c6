"""The process of a contender: `contender.Elsewhere` starts it with the number of a pipe."""
import sys
from multiprocessing.connection import Connection

from nncompile.bench.contender import serve

if __name__ == "__main__":
    serve(Connection(int(sys.argv[1])))
