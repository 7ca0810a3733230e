// Node's fetch, which decompresses. Prints the response's content coding, then the data of each event, one per line.
const response = await fetch(process.argv[2]);
console.log(response.headers.get("content-encoding"));

let rest = "";
for await (const text of response.body.pipeThrough(new TextDecoderStream())) {
  const lines = (rest + text).split("\n");
  rest = lines.pop();
  for (const line of lines) if (line.startsWith("data: ")) console.log(line.slice("data: ".length));
}
