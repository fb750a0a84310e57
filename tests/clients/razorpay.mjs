// Razorpay's own library, asked by a test: each line on standard input is `{id, call, args}`, answered by
// `{type: "result", id, result}`. `webhook` and `payment` are
// the library's signature checks; `order` creates an order at `args.url` and finds it again by its receipt; `disputes` lists disputes,
// accepts one and fetches it.
import { createInterface } from "node:readline";
import Razorpay from "razorpay";
import { validatePaymentVerification, validateWebhookSignature } from "razorpay/dist/utils/razorpay-utils.js";

const calls = {
  webhook: ({ body, signature, secret }) => validateWebhookSignature(body, signature, secret),
  payment: ({ order_id, payment_id, signature, secret }) =>
    validatePaymentVerification({ order_id, payment_id }, signature, secret),
  order: async ({ url, key_id, key_secret, order }) => {
    const razorpay = new Razorpay({ key_id, key_secret });
    razorpay.api.rq.defaults.baseURL = url;
    const created = await razorpay.orders.create(order);
    const found = await razorpay.orders.all({ receipt: order.receipt });
    return { created, found };
  },
  disputes: async ({ url, key_id, key_secret, accept }) => {
    const razorpay = new Razorpay({ key_id, key_secret });
    razorpay.api.rq.defaults.baseURL = url;
    const all = await razorpay.disputes.all({ count: 10 });
    const accepted = await razorpay.disputes.accept(accept);
    return { all, accepted, fetched: await razorpay.disputes.fetch(accept) };
  },
};

for await (const line of createInterface({ input: process.stdin })) {
  const { id, call, args } = JSON.parse(line);
  let result;
  try {
    result = await calls[call](args);
  } catch (error) {
    result = { error: String(error?.error?.description ?? error) };
  }
  process.stdout.write(JSON.stringify({ type: "result", id, result }) + "\n");
}
