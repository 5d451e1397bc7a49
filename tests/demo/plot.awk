# plot.awk: draws two sample files of `watch` side by side, on one scale, as plain text.
#
# PURPOSE: memory over time, left without and right with the library. Usage:
#     awk -v left_title=... -v right_title=... -f plot.awk LEFT RIGHT
# Both panels share the memory axis (0 to the higher peak) and the time axis (0 to the longer run),
# so that equal heights and widths mean equal amounts. A column shows the highest sample of its
# stretch of time.

BEGIN {
    columns = 32
    rows = 12
}

FNR == 1 { panel++ }

$1 == "end" {
    wall_ms[panel] = $2
    peak_kib[panel] = $3
    next
}

{
    count[panel]++
    at_ms[panel, count[panel]] = $1
    resident_kib[panel, count[panel]] = $2
}

# Columns without a sample of their own repeat the one before; after the end of the run there is
# nothing.
function fill(p,    i, c, last) {
    for (i = 1; i <= count[p]; i++) {
        c = int(at_ms[p, i] * columns / longest_ms)
        if (resident_kib[p, i] > height[p, c])
            height[p, c] = resident_kib[p, i]
    }
    last = int(wall_ms[p] * columns / longest_ms)
    for (c = 1; c <= last; c++)
        if (height[p, c] == 0)
            height[p, c] = height[p, c - 1]
}

function panel_row(p, row,    c, text) {
    text = ""
    for (c = 0; c < columns; c++)
        text = text (height[p, c] > (row - 0.5) * highest_kib / rows ? "#" : " ")
    return text
}

# The foot of a column that is too low for a whole row is still drawn: the program ran there.
function panel_floor(p,    c, text) {
    text = ""
    for (c = 0; c < columns; c++)
        text = text (height[p, c] > 0 ? "=" : "-")
    return text
}

END {
    longest_ms = wall_ms[1] > wall_ms[2] ? wall_ms[1] : wall_ms[2]
    highest_kib = peak_kib[1] > peak_kib[2] ? peak_kib[1] : peak_kib[2]
    if (longest_ms <= 0 || highest_kib <= 0) {
        print "plot.awk: nothing to draw"
        exit 1
    }
    fill(1)
    fill(2)
    printf "%8s   %-" columns "s   %-" columns "s\n", "MiB", left_title, right_title
    for (row = rows; row >= 1; row--) {
        label = row % 3 == 0 ? sprintf("%.0f", row * highest_kib / rows / 1024) : ""
        print sprintf("%8s", label) " | " panel_row(1, row) " | " panel_row(2, row) " |"
    }
    print sprintf("%8d", 0) " +-" panel_floor(1) "-+-" panel_floor(2) "-+"
    axis = sprintf("0 s%" (columns - 3) "s", sprintf("%.1f s", longest_ms / 1000))
    printf "%8s   %s   %s\n", "", axis, axis
}
