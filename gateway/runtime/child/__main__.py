"""The main module of an execution environment, which holds next to nothing, as on Lambda.

The directory of this file becomes the package `awslambdaric`, the name of AWS's own runtime, and is
not on `sys.path`: a function may have modules of any name that a file here has. Children that
multiprocessing makes by spawn or forkserver execute this file again, as `__mp_main__`, and so find
the class of the context, which may be sent to them.
"""

import sys

package = sys.modules.setdefault("awslambdaric", type(sys)("awslambdaric"))
package.__path__ = [__file__.rpartition("/")[0]]

if __name__ == "__main__":
    if sys.path and sys.path[0] == package.__path__[0]:
        del sys.path[0]
    __import__("awslambdaric.bootstrap_loop")
    package.bootstrap_loop.main()
elif __name__ == "__mp_main__":
    __import__("awslambdaric.packages")
    package.packages.watched(sys.path[:1])
