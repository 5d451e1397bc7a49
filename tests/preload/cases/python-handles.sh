# PURPOSE: what ctypes returns as c_void_p is an integer: for a binding its handles are nothing else.
NEEDS="python3"

run() { python3 "$SRC/handles.py"; }
