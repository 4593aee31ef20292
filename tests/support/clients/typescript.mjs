// The TypeScript SDK as a client: argv[2] is JSON, {server: [command, ...], calls: [[tool, arguments], ...]}.
import { Client } from "@modelcontextprotocol/sdk/client/index.js";
import { StdioClientTransport } from "@modelcontextprotocol/sdk/client/stdio.js";

const { server, calls } = JSON.parse(process.argv[2]);
const [command, ...args] = server;
const client = new Client({ name: "typescript-sdk", version: "1" });
await client.connect(new StdioClientTransport({ command, args }));
// Listing gives the SDK the output schemas; from then on it throws where a result does not fit its schema.
const { tools } = await client.listTools();
const results = [];
for (const [name, given] of calls) {
  results.push(await client.callTool({ name, arguments: given }));
}
const said = { server: client.getServerVersion(), instructions: client.getInstructions(), tools, results };
await client.close();
console.log(JSON.stringify(said));
