local count, sum = 0, 0
for line in io.lines("text") do count = count + 1; sum = sum + tonumber(line:match("^%d+")) end
print(count, sum, ("%5.2f|%-4s|%x"):format(math.pi, "ab", 255), ("abc"):rep(3, "-"))
local co = coroutine.wrap(function(a) for i = 1, 3 do a = coroutine.yield(a * i) end return "end" end)
print(co(5), co(6), co(7), co(8))
local t = {} for w in ("the quick brown fox"):gmatch("%a+") do t[#t + 1] = w end
table.sort(t, function(a, b) return a > b end) print(table.concat(t, ","), #t)
print(pcall(error, { code = 3 }), select("#", pcall(error, "message", 0)), os.date("!%F %T", 0), tostring(nil))
print(xpcall(function() local x = nil; return x.y end, function(m) return "handled: " .. m end))
local function deep(n) if n == 0 then return 0 end return 1 + deep(n - 1) end print(deep(10000))
print(pcall(string.rep)) io.stderr:write("to standard error\n")
local f = assert(io.tmpfile and io.open("new", "w")) f:write("written\n") f:seek("set", 2) f:write("X") f:close()
for l in io.lines("new") do print(l) end print(io.open("missing")) os.exit(5)
