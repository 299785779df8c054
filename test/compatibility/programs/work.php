<?php
echo json_encode(json_decode(file_get_contents('data.json'), true) + ['added' => [1, 2.5, null]]), "\n";
echo hash('sha256', file_get_contents('noise')), ' ', crc32('text'), ' ', strlen(gzcompress(str_repeat('ab', 5000))), "\n";
echo preg_replace('/(\d+) line/', '<$1>', fgets(fopen('text', 'r'))), date('c', 0), ' ', sprintf('%08.3f', M_PI), "\n";
mt_srand(3); echo mt_rand(), ' ', intdiv(17, 5), ' ', array_sum(range(1, 100)), "\n";
function gen() { for ($i = 0; $i < 3; $i++) { $x = yield $i; echo "[$x]"; } return 9; }
$g = gen(); foreach (['a', 'b', 'c'] as $x) $g->send($x); echo $g->getReturn(), "\n";
$files = scandir('folder'); sort($files); print_r($files);
try { intdiv(1, 0); } catch (DivisionByZeroError $e) { echo get_class($e), ': ', $e->getMessage(), "\n"; }
usort($files, fn($a, $b) => strlen($b) <=> strlen($a)); echo $files[0], "\n";
for ($i = 0, $s = 0; $i < 300000; $i++) $s += $i % 7; echo $s, "\n";
fwrite(STDERR, "to standard error\n"); exit(8);
