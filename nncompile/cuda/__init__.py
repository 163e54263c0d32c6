"""The CUDA target: Program -> source text, numba.cuda kernels and all -> callable.

    backend.py   all of it, for one program: the way in
    emit.py      Program -> Python source          arena.py     the weights as kernels read them
    kernels/     the texts of kernels              target.py    tile shapes of a device
    words.py     what generated source is written in            load.py     source -> functions, PTX
    arrays.py    arrays of the user's on the device             memory.py   scratch and staging
    graph.py     launches as one CUDA graph                     profile.py  time of each step
    shim.py      which package compiles, and why not

Nothing outside imports this room but `nncompile.targets`, for target="cuda".
"""
