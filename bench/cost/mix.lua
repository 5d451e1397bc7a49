-- PURPOSE: tables and strings in Lua, some 100 MiB alive; Lua's own collector frees them.
-- USE: mix.lua ROUNDS
local rounds = tonumber(arg[1])
local live, total = {}, 0

local function record(i)
    local fields = { size = i * 31 % 977, kind = "k" .. i % 50 }
    return { name = "name " .. i, tags = { i % 7, i % 11 }, fields = fields }
end

for i = 1, 250000 do
    live[i] = record(i)
end
for round = 1, rounds do
    for i = 1 + round % 4, #live, 4 do
        live[i] = record(i + round)
    end
    local counts = {}
    for i = 1, #live, 3 do
        local key = live[i].fields.kind .. live[i].name:sub(-2)
        counts[key] = (counts[key] or 0) + 1
    end
    for _, count in pairs(counts) do
        total = total + count
    end
end
print(total)
