"""What scripts/bench is made of.

processes     children that are always stopped; their memory and CPU time
figures       one figure: what was measured of whom, its runs, median and spread
systems       evbus and its peers: how each is started and spoken to, and what it promises
bench         what all measurements share: sizes, turns, instruments
pipes         measurements that drive lines through a publisher and its subscribers
stores        measurements of what is stored: publish, replay, topics, memory, start
commands      measurements of programs that do something for each event
report        the tables: report.md and README's summary
plots         the pictures, by gnuplot
"""
