import java.io.IOException;
import java.io.OutputStream;
import java.net.HttpURLConnection;
import java.net.URL;
import java.security.cert.X509Certificate;
import javax.net.ssl.HttpsURLConnection;
import javax.net.ssl.SSLContext;
import javax.net.ssl.TrustManager;
import javax.net.ssl.X509TrustManager;

/** Sends a body of SIZE bytes in pieces of PIECE with PAUSE seconds between; prints the status: URL SIZE PIECE PAUSE. */
class Refused {
    static class Trusting implements X509TrustManager {
        public void checkClientTrusted(X509Certificate[] chain, String type) {}

        public void checkServerTrusted(X509Certificate[] chain, String type) {}

        public X509Certificate[] getAcceptedIssuers() {
            return new X509Certificate[0];
        }
    }

    public static void main(String[] arguments) throws Exception {
        int size = Integer.parseInt(arguments[1]);
        int piece = Integer.parseInt(arguments[2]);
        long pause = (long) (Double.parseDouble(arguments[3]) * 1000);
        SSLContext context = SSLContext.getInstance("TLS");
        context.init(null, new TrustManager[] {new Trusting()}, null);
        HttpsURLConnection.setDefaultSSLSocketFactory(context.getSocketFactory());
        HttpsURLConnection.setDefaultHostnameVerifier((name, session) -> true);
        HttpURLConnection connection = (HttpURLConnection) new URL(arguments[0]).openConnection();
        connection.setDoOutput(true);
        connection.setFixedLengthStreamingMode(size);
        try {
            OutputStream body = connection.getOutputStream();
            for (int left = size; left > 0; left -= piece) {
                body.write(new byte[Math.min(left, piece)]);
                Thread.sleep(pause);
            }
            System.out.println(connection.getResponseCode());
        } catch (IOException error) {
            System.out.println(error);
        }
    }
}
