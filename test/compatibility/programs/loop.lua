local x, h = 0, 0
for i = 1, 2e7 do x = (x * 1103515245 + 12345) % 2147483648; if x % 3 == 0 then h = h + 1 end end
local ok, ffi = pcall(require, "ffi")
if ok then ffi.cdef "int abs(int); size_t strlen(const char *);" print(ffi.C.abs(-7), tonumber(ffi.C.strlen("four"))) end
print(x, h, jit and jit.status())
