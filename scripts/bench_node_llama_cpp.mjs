// Prompt and generation speed of a GGUF file in the npm package node-llama-cpp, on the processor:
// what scripts/bench_peer runs. The one argument is a JSON object: modules (the folder that holds
// the package), model, prompt, generate, depth, threads. Prints {"pp": t/s, "tg": t/s}.
import {join} from "node:path";
import {pathToFileURL} from "node:url";

const wish = JSON.parse(process.argv[2]);
const entry = join(wish.modules, "node-llama-cpp", "dist", "index.js");
const {getLlama} = await import(pathToFileURL(entry).href);

const llama = await getLlama({gpu: false, build: "never", logLevel: "error", maxThreads: wish.threads});
const model = await llama.loadModel({modelPath: wish.model});
const context = await model.createContext({
  contextSize: wish.depth + Math.max(wish.prompt, wish.generate + 1),
  batchSize: 512,
  threads: wish.threads,
});
const sequence = context.getSequence();

// Token ids that every vocabulary of a test file has, and that mean nothing.
const token = (i) => 3 + (i * 7919) % 240;
const tokens = (n) => Array.from({length: n}, (_, i) => token(i));

async function begin() {
  await sequence.clearHistory();
  if (wish.depth > 0) await sequence.evaluateWithoutGeneratingNewTokens(tokens(wish.depth));
}

async function timed(n, work) {
  const start = process.hrtime.bigint();
  await work(n);
  return n / (Number(process.hrtime.bigint() - start) / 1e9);
}

const prompt = (n) => sequence.evaluateWithoutGeneratingNewTokens(tokens(n));

async function generate(n) {
  const steps = sequence.evaluate([token(0)], {temperature: 0, yieldEogToken: true});
  await steps.next();
  for (let i = 1; i < n; ++i) await steps.next(token(i));  // in place of what was generated
  await steps.return();
}

const speeds = {};
for (const [kind, n, work] of [["pp", wish.prompt, prompt], ["tg", wish.generate, generate]]) {
  if (n === 0) continue;
  await begin();
  await work(Math.min(n, 8));  // warms up
  await begin();
  speeds[kind] = await timed(n, work);
}
console.log(JSON.stringify(speeds));
process.exit(0);
