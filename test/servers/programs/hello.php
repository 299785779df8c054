<?php
header("Content-Type: text/plain");
$path = parse_url($_SERVER["REQUEST_URI"], PHP_URL_PATH);
$size = strlen(file_get_contents("php://input"));
if ($path === "/large") echo str_repeat("l", 300000);
else echo $_SERVER["REQUEST_METHOD"], " ", $path, $size ? " $size" : "", "\n";
