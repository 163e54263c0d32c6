"""Graphs in other formats: ONNX files. How each op is spelled in them says `counterparts`."""
