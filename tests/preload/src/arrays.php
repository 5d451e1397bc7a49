<?php
// Arrays, strings, JSON, regular expressions, sorting: a function's types hang on a pointer past the end.
$a = [];
for ($i = 0; $i < 30000; $i++)
    $a["k$i"] = [$i, str_repeat(chr(65 + $i % 26), $i % 50)];
foreach ($a as $key => $value)
    if ($value[0] % 3 == 0)
        unset($a[$key]);
$text = json_encode($a);
echo md5($text), "\n", count(json_decode($text, true)), "\n";
$s = '';
for ($i = 0; $i < 2000; $i++)
    $s .= preg_replace('/(\d)(\d)/', '$2$1', (string)($i * 7919));
echo md5($s), "\n";
usort($a, fn($x, $y) => strcmp($x[1], $y[1]) ?: $x[0] - $y[0]);
echo $a[100][1], " ", count($a), "\n";
$queue = new SplPriorityQueue();
for ($i = 0; $i < 2000; $i++)
    $queue->insert("v$i", $i * 7919 % 1009);
for ($s = ''; !$queue->isEmpty();)
    $s .= $queue->extract()[1];
echo strlen($s), "\n";
