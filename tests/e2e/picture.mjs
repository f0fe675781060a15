// Pictures as PNG files: painted by a function, and read again to look at their pixels.
import zlib from "node:zlib";

const signature = Buffer.from([0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a]);
const channelsOf = { 0: 1, 2: 3, 4: 2, 6: 4 };

/** A PNG file; `colourAt(x, y)`, each from 0 to 1, is `[red, green, blue]` of up to 255. */
export function paint(width, height, colourAt) {
  const rows = Buffer.alloc(height * (1 + width * 3));
  for (let y = 0; y < height; y += 1) {
    for (let x = 0; x < width; x += 1) {
      const colour = colourAt((x + 0.5) / width, (y + 0.5) / height);
      rows.set(colour.map(Math.round), y * (1 + width * 3) + 1 + x * 3);
    }
  }
  const header = Buffer.alloc(13);
  header.writeUInt32BE(width, 0);
  header.writeUInt32BE(height, 4);
  header.set([8, 2], 8);
  const chunks = [chunk("IHDR", header), chunk("IDAT", zlib.deflateSync(rows)), chunk("IEND")];
  return Buffer.concat([signature, ...chunks]);
}

function chunk(type, data = Buffer.alloc(0)) {
  const named = Buffer.concat([Buffer.from(type, "latin1"), data]);
  const [length, sum] = [Buffer.alloc(4), Buffer.alloc(4)];
  length.writeUInt32BE(data.length);
  sum.writeUInt32BE(crc32(named));
  return Buffer.concat([length, named, sum]);
}

function crc32(bytes) {
  let sum = ~0;
  for (const byte of bytes) {
    sum ^= byte;
    for (let bit = 0; bit < 8; bit += 1) sum = (sum >>> 1) ^ (sum & 1 ? 0xedb88320 : 0);
  }
  return ~sum >>> 0;
}

/** `{ width, height, colourAt }` of a PNG file of 8 bits and without interlacing. */
export function readPicture(bytes) {
  if (!bytes.subarray(0, 8).equals(signature)) throw new Error("This is no PNG file.");
  const parts = [];
  let header;
  for (let at = 8; at < bytes.length; ) {
    const length = bytes.readUInt32BE(at);
    const [type, data] = [bytes.toString("latin1", at + 4, at + 8), bytes.subarray(at + 8)];
    if (type === "IHDR") header = data.subarray(0, length);
    if (type === "IDAT") parts.push(data.subarray(0, length));
    at += 12 + length;
  }
  const [width, height] = [header.readUInt32BE(0), header.readUInt32BE(4)];
  const [depth, kind, , , interlaced] = header.subarray(8);
  const channels = channelsOf[kind];
  if (depth !== 8 || channels === undefined || interlaced) throw new Error("Another kind of PNG.");
  const pixels = unfilter(zlib.inflateSync(Buffer.concat(parts)), width * channels, channels);
  const colourAt = (x, y) => {
    const [column, row] = [Math.floor(x * width), Math.floor(y * height)];
    return [...pixels[row].subarray(column * channels, column * channels + Math.min(channels, 3))];
  };
  if (pixels.length !== height) throw new Error(`${pixels.length} of ${height} rows.`);
  return { width, height, colourAt };
}

/** The rows of an image's data, each with its filter undone. */
function unfilter(data, rowBytes, step) {
  const rows = [];
  for (let at = 0; at < data.length; at += 1 + rowBytes) {
    const row = Buffer.from(data.subarray(at + 1, at + 1 + rowBytes));
    const above = rows.at(-1) ?? Buffer.alloc(rowBytes);
    for (let i = 0; i < rowBytes; i += 1) {
      const [left, upper] = [i < step ? 0 : row[i - step], i < step ? 0 : above[i - step]];
      row[i] += predictors[data[at]](left, above[i], upper);
    }
    rows.push(row);
  }
  return rows;
}

const predictors = [
  () => 0,
  (left) => left,
  (left, above) => above,
  (left, above) => (left + above) >> 1,
  (left, above, upper) => {
    const [a, b, c] = [left, above, upper].map((one) => Math.abs(left + above - upper - one));
    if (a <= b && a <= c) return left;
    return b <= c ? above : upper;
  },
];

const mix = (one, other, share) => one.map((part, i) => part + (other[i] - part) * share);

/** Colours of a landscape: the sky from above to below, the sun or moon, hills from far to near. */
export const evening = {
  sky: [[64, 92, 150], [240, 148, 120], [253, 208, 140]],
  sun: [255, 236, 179],
  hills: [[94, 84, 124], [62, 62, 98], [34, 40, 66]],
};
export const night = {
  sky: [[12, 18, 48], [30, 44, 92], [66, 86, 140]],
  sun: [236, 240, 250],
  hills: [[34, 42, 84], [22, 28, 60], [12, 16, 36]],
};

/** A picture of hills under the sky, as people send them. */
export function paintHills(width, height, { sky, sun, hills }) {
  const tops = (x) => [
    0.62 + 0.05 * Math.sin(9 * x) + 0.02 * Math.sin(23 * x),
    0.72 + 0.06 * Math.sin(6 * x + 2),
    0.86 + 0.05 * Math.sin(5 * x + 4),
  ];
  return paint(width, height, (x, y) => {
    const hill = tops(x).findLastIndex((top) => y > top);
    if (hill >= 0) return hills[hill];
    if (Math.hypot((x - 0.68) * (width / height), y - 0.42) < 0.11) return sun;
    return y < 0.35 ? mix(sky[0], sky[1], y / 0.35) : mix(sky[1], sky[2], (y - 0.35) / 0.45);
  });
}
