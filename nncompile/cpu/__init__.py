"""The CPU target: Program -> source text -> machine code -> callable.

    engine.py    all of it, for one program: the way in
    emit.py      Program -> Python source          emitters.py, scope.py: its lines, its names
    arena.py     the weights as kernels read them
    kernels/     what the source calls             lanes.py, math/, target.py: what they stand on
    jit.py       source -> object code, by numba   load.py, cache.py, link.py: kept, and linked
    executable.py, call.py, launch.py, pool.py     from a call to the workers
    profile.py   time of each step                 progress.py: what a terminal shows meanwhile
    ceilings.py, costs.py, cores.py                what the machine can do, and what sharing costs
"""
