// maps of pixels: the value below which `share` of the sum lies; page.js comes first
const tops = new WeakMap();
const topPixel = (map) => {
  const known = tops.get(map) ?? {}, key = sides(map);
  tops.set(map, known);
  if (key in known) return known[key];
  const sizes = shownCells(map).map(Math.abs).sort(), sum = sizes.reduce((all, size) => all + size, 0);
  let below = 0;
  return (known[key] = sizes.find((size) => (below += size) >= map.share * sum) ?? 0);
};
