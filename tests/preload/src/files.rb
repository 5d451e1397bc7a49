# Files, hashes, strings, fibers, threads, a child: a file's buffers hang on an unaligned pointer.
require "json"
require "digest"
require "tempfile"

table = {}
20_000.times { |i| table["k#{i}"] = [i, i.to_s * 3, { a: i }] }
table.delete_if { |_, value| value[0] % 3 == 0 }
text = JSON.generate(table)
puts Digest::SHA256.hexdigest(text), JSON.parse(text).size
Tempfile.create("files") do |file|
  2_000.times { |i| file.puts("line #{i} " + "x" * (i % 90)) }
  file.rewind
  puts file.each_line.sum { |line| line.size }
end
threads = 4.times.map do |n|
  Thread.new { (1..2_000).map { |x| (x * n).to_s.reverse }.join.size }
end
puts threads.map(&:value).inspect
fibers = 300.times.map { |i| Fiber.new { Fiber.yield(i.to_s * 10); i } }
puts fibers.map(&:resume).join.size, fibers.sum(&:resume)
puts "aaabbb".gsub(/(a+)(b+)/) { $2 + $1 }
$stdout.flush
child = fork { puts "child"; exit 3 }
Process.wait(child)
puts $?.exitstatus
