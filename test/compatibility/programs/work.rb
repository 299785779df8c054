require "json"; require "digest"; require "set"; require "time"; require "strscan"; require "tempfile"; require "bigdecimal"
puts JSON.generate(JSON.parse(File.read("data.json")).merge("added" => [1, 2.5, nil]))
puts Digest::SHA256.hexdigest(File.binread("noise")), Set[3, 1, 2].to_a.sort.inspect, Time.at(0).utc.iso8601
puts File.foreach("text").map { |line| line.split.first.to_i }.sum, (2**200).to_s, Random.new(7).rand(1000), BigDecimal("0.1") + BigDecimal("0.2")
fiber = Fiber.new { 3.times { |i| Fiber.yield i * i }; :done }
p 4.times.map { fiber.resume }
trap("USR1") { puts "caught" }
Process.kill("USR1", Process.pid); sleep 0.05
p Dir.glob("folder/**/*").sort, Comparable.instance_methods.size > 3, [3, 1, 2].sort_by { |x| -x }, "grüße".upcase.encode("UTF-8")
begin; Integer("x"); rescue ArgumentError => error; puts error.message; end
def deep(n) = n.zero? ? 0 : 1 + deep(n - 1)
p deep(5000)
$stderr.puts "to standard error"
exit 6
