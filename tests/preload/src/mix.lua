-- PURPOSE: a lua program with a fixed output: tables, strings, coroutines, weak tables, finalisers.
local t = {}
for i = 1, 60000 do t["k" .. (i * 7919) % 60013] = { i, tostring(i) } end
local n, sum = 0, 0
for k, v in pairs(t) do n = n + 1; sum = sum + v[1] + #v[2] + #k end
print(n, sum)

local parts = {}
for i = 1, 20000 do parts[#parts + 1] = ("%d:%x;"):format(i, i * i) end
local s = table.concat(parts)
print(#s, select(2, s:gsub("%x+;", string.upper)), s:sub(-12))

local function producer(k)
    return coroutine.wrap(function()
        for i = 1, k do coroutine.yield({ i, ("y"):rep(i % 30) }) end
    end)
end
local all = {}
for i = 1, 300 do all[i] = producer(40) end
local got = 0
for _ = 1, 40 do for i = 1, 300 do got = got + #all[i]()[2] end end
print(got)

local weak = setmetatable({}, { __mode = "k" })
for i = 1, 5000 do weak[{}] = i end
collectgarbage()
print(next(weak))
local finals = 0
for i = 1, 3000 do setmetatable({}, { __gc = function() finals = finals + 1 end }) end
collectgarbage()
print(finals)

local keys = {}
for k in pairs(t) do keys[#keys + 1] = k end
table.sort(keys)
print(keys[1], keys[#keys])
print(pcall(error, { code = 3 }) == false, select(2, pcall(string.rep, "x", -1)))
collectgarbage("generational")
local tree
local function build(d) return d == 0 and {} or { build(d - 1), build(d - 1) } end
local function count(x) return x[1] and 1 + count(x[1]) + count(x[2]) or 1 end
for _ = 1, 6 do tree = build(12) end
print(count(tree))
print(load("return " .. ("("):rep(150) .. "1" .. (")"):rep(150))())
