// Sends one task in the wire form, as any other SQS client would. Arguments: the queue's URL, the task as JSON.
import { SQSClient } from "@aws-sdk/client-sqs";
import { Producer } from "sqs-producer";

const [queueUrl, task] = process.argv.slice(2);
const parsed = JSON.parse(task);
const producer = Producer.create({
  queueUrl,
  sqs: new SQSClient({ endpoint: process.env.AWS_ENDPOINT_URL, region: process.env.AWS_REGION }),
});
await producer.send({
  id: "1",
  body: task,
  messageAttributes: {
    Type: { DataType: "String", StringValue: parsed.type },
    Priority: { DataType: "Number", StringValue: String(parsed.priority ?? 0) },
  },
});
