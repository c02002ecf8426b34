// The official OpenAI client for Node against a running Parley: prints one JSON object.
import OpenAI from "openai";

const client = new OpenAI({ baseURL: `${process.argv[2]}/v1`, apiKey: "any", maxRetries: 0 });
const ask = (content, more = {}) => ({
  model: "demo",
  temperature: 0,
  messages: [{ role: "user", content }],
  ...more,
});
const result = {};

const whole = await client.chat.completions.create(ask("[demo tps=0] Hello from Node"));
result.whole = whole.choices[0].message.content;
result.finish = whole.choices[0].finish_reason;

let streamed = "";
let usage = null;
const stream = await client.chat.completions.create({
  ...ask("[demo tps=0] Hello from Node"),
  stream: true,
  stream_options: { include_usage: true },
});
for await (const chunk of stream) {
  streamed += chunk.choices[0]?.delta?.content ?? "";
  usage = chunk.usage ?? usage;
}
result.streamed = streamed;
result.usage = usage;

try {
  const broken = await client.chat.completions.create({
    ...ask("[demo tps=0 fault=error@10] break"),
    response_format: { type: "json_object" },
    stream: true,
  });
  for await (const chunk of broken) void chunk;
  result.error = null;
} catch (error) {
  result.error = { name: error.constructor.name, code: error.code ?? error.error?.code };
}

try {
  await client.chat.completions.create(ask("x", { model: "no-such-model" }));
} catch (error) {
  result.missing = { status: error.status, code: error.code };
}

const runner = client.chat.completions.stream({
  ...ask("[demo tps=0] What is the weather in Paris?", { model: "demo-tools" }),
  tools: [
    {
      type: "function",
      function: {
        name: "get_weather",
        description: "The weather of a city",
        parameters: { type: "object", properties: { city: { type: "string" } }, required: ["city"] },
      },
    },
  ],
});
const final = await runner.finalChatCompletion();
result.tool = final.choices[0].message.tool_calls?.[0]?.function ?? null;
result.toolFinish = final.choices[0].finish_reason;

process.stdout.write(JSON.stringify(result));
