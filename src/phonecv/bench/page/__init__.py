"""The page that a phone opens to time exported networks; `phonecv.bench.serve` offers it, `fetch` brings its parts."""
